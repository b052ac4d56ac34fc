"""`bptt init`: templates that are right, complete and never overwritten."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import workloads
from orchestrator.cli.template import HELP, sweep_template, workload_class
from orchestrator.spec import Budget, Resources, Search
from orchestrator.sweep_file import read_spec
from tests.fakes import KIND
from tests.orchestrator.cli.conftest import Bptt
from workloads.hyperparameters import CELL_TYPES, Hyperparameters

KINDS = [*workloads.KINDS, KIND]
COMMENTED = re.compile(r"^  # ([a-z_0-9]+: .*)$")


@pytest.mark.parametrize("kind", KINDS)
def test_the_template_is_a_right_sweep_file(kind: str) -> None:
    spec = read_spec(sweep_template(kind))
    assert spec.workload.kind == kind
    assert {"cell_type", "hidden_size", "truncation_length"} <= set(spec.space)


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_and_hyperparameter_is_explained(kind: str) -> None:
    text = sweep_template(kind)
    fields = [*dataclasses.fields(workload_class(kind)), *dataclasses.fields(Hyperparameters)]
    for field in fields:
        assert re.search(rf"^ *(# )?{field.name}: ", text, re.MULTILINE), field.name


def test_every_cell_type_is_named_beside_those_that_are_swept() -> None:
    (swept,) = (line for line in sweep_template("memory").splitlines() if line.startswith("  cell_type: "))
    assert all(cell_type in swept.partition("#")[2] for cell_type in CELL_TYPES)


@pytest.mark.parametrize("kind", workloads.KINDS)
def test_every_commented_line_is_right_without_its_comment_sign(kind: str) -> None:
    lines = sweep_template(kind).splitlines()
    commented = [index for index, line in enumerate(lines) if COMMENTED.match(line)]
    assert len(commented) > 15
    for index in commented:
        read_spec("\n".join([*lines[:index], COMMENTED.sub(r"  \1", lines[index]), *lines[index + 1 :]]))


def test_every_field_of_the_blocks_has_help() -> None:
    fields = [entry for model in (Budget, Search, Resources) for entry in model.model_fields.items()]
    assert set(HELP) == {field.alias or name for name, field in fields}


def test_a_new_file_is_written_and_what_to_type_next(bptt: Bptt, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    answer = bptt("init", "memory", "-o", path)
    assert (answer.status, path.read_text()) == (0, sweep_template("memory"))
    assert f"bptt run {path}" in answer.out


def test_a_file_that_exists_is_replaced_only_by_force(bptt: Bptt, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("mine")
    answer = bptt("init", "memory", "-o", path)
    assert (answer.status, path.read_text()) == (2, "mine")
    assert "--force" in answer.err
    assert bptt("init", "memory", "-o", path, "--force").status == 0
    assert path.read_text() == sweep_template("memory")


@pytest.mark.parametrize("kind", ["nonsense", "no.such.module:Name", "pathlib:Path"])
def test_an_unknown_workload_is_one_line(bptt: Bptt, kind: str) -> None:
    answer = bptt("init", kind)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("bptt: WORKLOAD")
    assert answer.err.count("\n") == 1


def test_a_folder_that_is_not_there_is_one_line(bptt: Bptt, tmp_path: Path) -> None:
    answer = bptt("init", "memory", "-o", tmp_path / "no" / "sweep.yaml")
    assert answer.status == 2
    assert "cannot be written: No such file or directory" in answer.err
