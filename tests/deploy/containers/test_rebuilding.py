"""Two builds of the same sources have the same bytes, and one of other sources differs in the project's layer alone.

Of the trainer what `dependencies` installs is built once: a second time would take ten minutes more. The images' own
ids differ all the same, since Buildah notes in their history by what ids it knew what it built on the way.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.containers import podman
from tests.deploy.containers.conftest import TRAINER

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]
DEPENDENCIES = "localhost/bptt-dependencies:test"
OWN_STAGE = "\nFROM dependencies AS build\n"
SOURCES = ("orchestrator", "workloads", "k8s", "deploy/images", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def upper(images: dict[str, podman.Built], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Dockerfile of what follows the trainer's dependencies, which are an image of their own for it."""
    whole = podman.IMAGES / "trainer.Dockerfile"
    podman.build(DEPENDENCIES, whole, "--target=dependencies")
    file = tmp_path_factory.mktemp("upper") / "upper.Dockerfile"
    own = whole.read_text().partition(OWN_STAGE)[2]
    file.write_text(f"ARG BASE_IMAGE\nFROM {DEPENDENCIES} AS dependencies\n{OWN_STAGE}{own}")
    shutil.copyfile(f"{whole}.dockerignore", f"{file}.dockerignore")
    return file


def sources(folder: Path) -> Path:
    """Copy what the image is made of: a checkout of another place and time."""
    for name in (*SOURCES, "requirements.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (podman.ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(podman.ROOT / name, folder / name, ignore=unwanted, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(podman.ROOT / name, folder / name)
    return folder


def layers(image: str) -> list[str]:
    found: list[str] = podman.inspect(image)["RootFS"]["Layers"]
    return found


def history(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what an image was made by, and when, without the ids of what was built on the way."""
    return [(each["created"], each["created_by"]) for each in found["History"]]


def test_two_builds_of_the_same_sources_are_the_same_bytes(upper: Path, tmp_path: Path) -> None:
    names = [f"localhost/bptt-rebuilt{number}:test" for number in (1, 2)]
    for name in names:
        built = podman.build(name, upper, "--no-cache", context=sources(tmp_path / name))
        print(f"{name}: built anew in {built.seconds:.0f} s")
    assert layers(names[0]) == layers(names[1]) == layers(TRAINER)
    first, second = (podman.inspect(name) for name in names)
    for part in ("Config", "Labels", "Created", "Architecture"):
        assert first[part] == second[part], part
    assert history(first) == history(second)


def test_other_sources_change_the_projects_layer_alone(upper: Path, tmp_path: Path) -> None:
    context, name = sources(tmp_path / "changed"), "localhost/bptt-changed:test"
    changed = context / "orchestrator/errors.py"
    changed.write_text(changed.read_text() + "\nCHANGED = True\n")
    podman.build(name, upper, context=context)
    before, after = layers(TRAINER), layers(name)
    differing = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert len(differing) == 1, "the bill of materials names no file of our own"
    made_by = [each["created_by"] for each in podman.inspect(name)["History"] if not each.get("empty_layer")]
    copies = [number for number, line in enumerate(made_by) if "COPY" in line and line.endswith("in /opt/bptt ")]
    assert differing == copies[1:], "after the dependencies"
