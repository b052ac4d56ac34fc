"""The images as they were built: what is in them, and what is not."""

from __future__ import annotations

import json
import re

import pytest

from orchestrator import __version__
from tests.deploy.containers import podman
from tests.deploy.containers.conftest import MLFLOW, TRAINER

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]
CARRIED_WITH_BASE = {"bptt"}


def pins(*files: str) -> dict[str, str]:
    lines = [line for file in files for line in (podman.ROOT / file).read_text().splitlines() if "==" in line]
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def run(image: str, *command: str) -> str:
    options = ("--rm", "--network=none", "--read-only", "--cap-drop=all", "--entrypoint=")
    return podman.call("podman", "run", *options, image, *command)


@pytest.fixture(params=[TRAINER, MLFLOW])
def image(request: pytest.FixtureRequest, images: dict[str, podman.Built]) -> str:
    return str(request.param)


def test_the_bill_of_materials_names_what_is_pinned_and_nothing_else(image: str) -> None:
    bill = json.loads(run(image, "cat", "/usr/share/sbom/python.cdx.json"))
    found = {normal(part["name"]): part["version"].partition("+")[0] for part in bill["components"]}
    wanted = pins("requirements.txt", "requirements-dev.txt")
    assert {name: version for name, version in found.items() if wanted.get(name) != version} in (
        {},
        {"bptt": __version__},
    )
    assert {"mlflow", "psycopg", "sqlalchemy"} <= set(found)
    if image == TRAINER:
        assert set(pins("requirements.txt")) <= set(found)
    assert "libc6" in run(image, "cat", "/usr/share/sbom/debian.txt")


def test_it_runs_as_an_ordinary_user_who_finds_no_installer(image: str) -> None:
    assert run(image, "id", "-u").strip() == "10001"
    assert run(image, "sh", "-c", "command -v pip pip3 gcc curl || echo none").strip() == "none"
    with pytest.raises(RuntimeError):
        run(image, "touch", "/opt/planted")


def test_a_login_shell_finds_the_programs_too(image: str) -> None:
    program = "ray" if image == TRAINER else "mlflow"
    assert run(image, "bash", "-lc", f"command -v {program}").startswith("/opt/")


def test_it_says_what_it_is_and_how_it_is(image: str) -> None:
    found = podman.inspect(image)
    assert found["Labels"]["org.opencontainers.image.version"] == __version__
    assert "urlopen" in " ".join(found["Healthcheck"]["Test"])
    known = "".join(found["Config"]["Env"])
    assert not re.search("PASSWORD|_KEY|TOKEN=", known)


def test_the_trainer_has_torch_for_cpus_and_answers(images: dict[str, podman.Built]) -> None:
    said = run(TRAINER, "python", "-c", "import torch; print(torch.__version__, torch.version.cuda)")
    assert said.endswith("None\n")
    assert run(TRAINER, "bptt", "--version").strip() == f"bptt, version {__version__}"
    assert "demo" in run(TRAINER, "bptt", "validate", "demo")
