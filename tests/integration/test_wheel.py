"""The wheel, installed elsewhere: whole, and quick to answer because nothing heavy is loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CALL = """
import json, sys
from orchestrator.cli import main
import orchestrator, workloads
try:
    main(sys.argv[1:])
except SystemExit as error:
    heavy = [name for name in ("ray", "torch", "mlflow", "optuna", "pandas") if name in sys.modules]
    print(json.dumps({"status": error.code, "heavy": heavy, "from": [orchestrator.__file__, workloads.__file__]}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources and install it alone into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("orchestrator", "workloads", "k8s"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder / "dist", folder / "source"], check=True
    )
    [wheel] = (folder / "dist").glob("bptt-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("validate", "demo"), ("init", "forecast"), ("run", "--help"), ("k8s", "apply", "--help")],
)
def test_it_answers_without_loading_anything_heavy(installed: Path, arguments: tuple[str, ...], tmp_path: Path) -> None:
    answer = subprocess.check_output(
        [sys.executable, "-c", CALL, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        text=True,
    )
    found = json.loads(answer.splitlines()[-1])
    assert found["status"] == 0
    assert found["heavy"] == []
    assert all(path.startswith(str(installed)) for path in found["from"])


def test_it_says_that_it_is_typed(installed: Path) -> None:
    assert (installed / "orchestrator" / "py.typed").is_file()
    assert (installed / "workloads" / "py.typed").is_file()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_its_manifests_come_along(installed: Path, tmp_path: Path) -> None:
    assert files(installed / "share" / "bptt" / "k8s") == files(ROOT / "k8s")
    if shutil.which("kubectl") is None:
        return
    rendered = subprocess.check_output(
        [sys.executable, "-m", "orchestrator.cli", "k8s", "render", "local"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        text=True,
    )
    assert "kind: RayCluster" in rendered
