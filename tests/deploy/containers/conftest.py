"""Images and a deployment that all tests here share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.deploy.containers import podman
from tests.deploy.containers.deployment import Cluster, deployed

TRAINER, MLFLOW = "localhost/bptt-trainer:0.1.0", "localhost/bptt-mlflow:0.1.0"


@pytest.fixture(scope="session")
def images() -> dict[str, podman.Built]:
    """Build the images as shipped, on a Debian of our own; with BPTT_IMAGES=built take those that are there."""
    if missing := podman.why_not():
        pytest.skip(missing)
    if os.environ.get("BPTT_IMAGES") == "built":
        return {name: podman.Built(name, 0.0, int(podman.inspect(name)["Size"])) for name in (TRAINER, MLFLOW)}
    podman.make_base()
    files = {TRAINER: "trainer.Dockerfile", MLFLOW: "mlflow.Dockerfile"}
    built = {name: podman.build(name, podman.IMAGES / file) for name, file in files.items()}
    for image in built.values():
        print(f"{image.name}: {image.size_bytes / 1e6:.0f} MB, built in {image.seconds:.0f} s")
    return built


@pytest.fixture(scope="session")
def cluster(images: dict[str, podman.Built], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Bring up databases, storage, MLflow and Ray."""
    with deployed(tmp_path_factory.mktemp("deployment")) as running:
        running.start_ray("1")
        yield running
