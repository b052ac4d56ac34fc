"""Compiling kernels on demand: once, whole or not at all, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workloads.models.cells import compiled

LOAD = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("compiled", {compiled.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print("none" if module.kernels() is None else "some", end="")
"""
"""In a process that knows nothing of torch."""


def start(folder: Path, compiler: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "CC": compiler}
    return subprocess.Popen([sys.executable, "-c", LOAD], env=environment, stdout=subprocess.PIPE, text=True)


def loaded(folder: Path, compiler: str, processes: int = 1) -> list[str]:
    started = [start(folder, compiler) for _ in range(processes)]
    return [process.communicate(timeout=200)[0] for process in started]


def script(folder: Path, body: str) -> tuple[str, Path]:
    """Write a compiler that notes each time that it is to compile, and then does `body`."""
    calls, path = folder / "calls", folder / "compiler"
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo 1.0; exit; fi\necho x >> {calls}\n{body}\n')
    path.chmod(0o755)
    return str(path), calls


@pytest.mark.skipif(compiled.kernels() is None, reason="there is no C compiler")
def test_processes_that_start_together_compile_once(tmp_path: Path) -> None:
    compiler, calls = script(tmp_path, 'exec cc "$@" -O0')
    assert loaded(tmp_path, compiler, processes=3) == ["some"] * 3
    assert loaded(tmp_path, compiler) == ["some"]
    assert calls.read_text() == "x\n"
    assert len(list((tmp_path / "cache/bptt/kernels").glob("*.so"))) == 1


@pytest.mark.parametrize("body", ["echo no room >&2; exit 1", 'while [ "$1" != -o ]; do shift; done; echo torn > "$2"'])
def test_a_compiler_that_fails_is_asked_once_and_leaves_its_reason(tmp_path: Path, body: str) -> None:
    compiler, calls = script(tmp_path, body)
    assert loaded(tmp_path, compiler, processes=2) == ["none"] * 2
    assert calls.read_text() == "x\n"
    folder = tmp_path / "cache/bptt/kernels"
    assert not list(folder.glob("*.so"))
    (failure,) = folder.glob("*.failed")
    assert "no room" in failure.read_text() or "OSError" in failure.read_text()


def test_without_a_compiler_or_a_folder_there_are_no_kernels(tmp_path: Path) -> None:
    assert loaded(tmp_path, str(tmp_path / "nowhere")) == ["none"]
    compiler, calls = script(tmp_path, "exit 1")
    (tmp_path / "cache").write_text("a file in the way")
    assert loaded(tmp_path, compiler) == ["none"]
    assert not calls.exists()
