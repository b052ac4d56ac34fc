"""What the images are built from, and the workflow that releases them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import __version__

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/images"
HOSTS = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:io|com|org|dev)\b")


@pytest.fixture(params=["trainer", "mlflow"])
def dockerfile(request: pytest.FixtureRequest) -> str:
    return (FOLDER / f"{request.param}.Dockerfile").read_text()


def last_stage(dockerfile: str) -> str:
    return dockerfile.rpartition("\nFROM ")[2]


def test_an_image_is_of_a_pinned_base_which_can_be_another(dockerfile: str) -> None:
    assert re.search(r"^ARG BASE_IMAGE=python:3\.11\.\d+-slim-bookworm$", dockerfile, re.MULTILINE)
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    stages = re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE)
    assert set(bases) <= {"${BASE_IMAGE}", *stages}
    assert bases[-1] == "${BASE_IMAGE}", "what builds is not shipped"


def test_an_image_runs_as_an_ordinary_user_and_says_how_it_is(dockerfile: str) -> None:
    last = last_stage(dockerfile)
    assert "\nUSER 10001:10001\n" in last
    assert "\nHEALTHCHECK " in last
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in last
    assert "/usr/share/sbom" in last
    assert "pip install" not in last
    assert "apt-get" not in last


def test_an_image_is_of_the_projects_version(dockerfile: str) -> None:
    assert f"\nARG VERSION={__version__}\n" in dockerfile


def test_what_makes_the_bill_of_materials_is_pinned() -> None:
    lines = [line for line in (FOLDER / "sbom-requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert any(line.startswith("cyclonedx-bom==") for line in lines)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line) for line in lines)


def test_what_changes_least_comes_first() -> None:
    trainer = (FOLDER / "trainer.Dockerfile").read_text()
    dependencies, _, rest = trainer.partition("\nFROM dependencies AS build\n")
    assert re.findall(r"^COPY (?!--from)(.+) \S+$", dependencies, re.MULTILINE) == [
        "requirements.txt",
        "deploy/images/sbom-requirements.txt",
    ]
    assert re.findall(r"^COPY (?!--from)(.+) \S+$", rest, re.MULTILINE) == ["."]
    last = last_stage(trainer)
    assert re.findall(r"^COPY --from=(\w+) /(?:own|opt)", last, re.MULTILINE) == ["dependencies", "build"]


def test_what_differs_from_build_to_build_comes_last(dockerfile: str) -> None:
    last = last_stage(dockerfile)
    assert "\nRUN " not in last[last.index("\nARG ") :]
    assert "\nCOPY " not in last[last.index("\nARG ") :]
    assert "SOURCE_DATE_EPOCH=86400" in last.partition("useradd")[0], "a new user's entry has the day in it"


def test_an_image_is_built_from_what_is_named_alone() -> None:
    for name in ("trainer", "mlflow"):
        ignored = (FOLDER / f"{name}.Dockerfile.dockerignore").read_text().splitlines()
        assert ignored[1] == "*"
        kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
        copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", (FOLDER / f"{name}.Dockerfile").read_text(), re.M)
        copies = {path for paths in copied for path in paths.split()}
        of_a_wheel = {"orchestrator", "workloads", "k8s", "pyproject.toml", "README.md", "LICENSE"}
        assert kept == copies - {"."} | (of_a_wheel if "." in copies else set())


def test_no_file_names_a_registrys_host() -> None:
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and "secrets" not in path.parts]
    assert len(files) > 10
    for path in files:
        assert not HOSTS.findall(path.read_text()), path


def test_a_release_checks_before_it_builds_and_trusts_no_moving_tag() -> None:
    workflow: dict[str, Any] = yaml.safe_load((ROOT / "deploy/release/release.yaml").read_text())
    jobs = workflow["jobs"]
    assert workflow["permissions"] == {}
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "check": None,
        "wheel": "check",
        "images": "check",
    }
    for job in jobs.values():
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step.get("uses", "actions/x@" + "0" * 40))
    built = {entry["name"]: entry["file"] for entry in jobs["images"]["strategy"]["matrix"]["include"]}
    assert built == {"bptt-trainer": "trainer", "bptt-trainer-gpu": "trainer", "bptt-mlflow": "mlflow"}
