"""A thousand mistakes: in sweep files and on command lines, each is one line that names what is wrong, and exit 2."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cli.main import COMMANDS, group, run
from orchestrator.database.ledger import Ledger
from orchestrator.settings import Settings
from tests.orchestrator.test_spec import GOOD, changed

EXAMPLES = 500
"""Of sweep files, and of command lines."""
REQUIRED = ("name", "workload", "workload.kind", "space")
BLOCKS = {
    "": GOOD,
    **{name: GOOD[name] for name in ("workload", "space", "train", "objective", "budget", "search", "resources")},
    "space.hidden_size": GOOD["space"]["hidden_size"],
}
NUMBERS = (
    *("budget.trials", "budget.sequence_steps", "budget.evaluations", "budget.hours", "search.seed"),
    *("resources.cpus", "resources.gpus", "resources.workers"),
    *("train.batch_size", "train.num_layers", "train.dropout", "train.weight_decay", "train.momentum", "train.k1"),
)
NAMES = (
    *("workload.kind", "workload.unit", "objective.metric", "objective.direction", "search.sampler", "search.pruner"),
    *("train.precision", "train.schedule", "train.device"),
)
RANGES = ("hidden_size", "truncation_length", "learning_rate")

words = st.from_regex(r"[a-z]{3,12}", fullmatch=True).map(lambda word: f"x{word}")
"""None of them is a name of anything."""
not_numbers = st.one_of(
    st.integers(max_value=-1),
    words,
    st.booleans(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(words, st.none(), max_size=2),
    st.sampled_from([float("nan"), float("inf"), -0.5, "10", "1e400", 10**400]),
)
not_names = st.one_of(
    words, st.integers(), st.booleans(), st.lists(words, max_size=2), st.sampled_from(["", "a:", "\n"])
)
not_parameters = st.one_of(
    st.integers(),
    words,
    st.none(),
    st.just([]),
    st.lists(words, min_size=1, max_size=3),
    st.fixed_dictionaries({"int": st.tuples(st.integers(50, 60), st.integers(-9, 9)).map(list)}),
    st.fixed_dictionaries(
        {"float": st.tuples(st.just(1.0), st.sampled_from([0.1, float("inf"), "2", None])).map(list)}
    ),
    st.fixed_dictionaries({"int": st.lists(st.integers(), max_size=1)}),
    st.fixed_dictionaries({"int": st.sampled_from([[1, 10**400], [-(10**400), 10], [1, 1e300], [True, 9], ["1", 9]])}),
    st.fixed_dictionaries({"int": st.just([1, 9]), "float": st.just([0.1, 0.2])}),
    st.fixed_dictionaries({"int": st.just([1, 9]), "step": st.sampled_from([-1, 0, 0.5, 100, "1", float("nan")])}),
    st.fixed_dictionaries({"int": st.just([0, 9]), "log": st.sampled_from([True, "yes", 7])}),
    st.fixed_dictionaries({"int": st.just([1, 9]), "when": st.dictionaries(words, st.just([1]), min_size=1)}),
)


def bad(paths: Sequence[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.sampled_from(paths), values)


mistakes = st.one_of(
    bad(REQUIRED, st.just(...)),
    st.tuples(st.sampled_from(list(BLOCKS)), words).map(lambda both: (".".join(filter(None, both)), 1)),
    bad(NUMBERS, not_numbers),
    bad(NAMES, not_names),
    bad([f"space.{name}" for name in RANGES], not_parameters),
)


def complaint(arguments: Sequence[str]) -> str:
    """Return the one line that a mistaken call leaves behind."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(list(arguments))
    line = err.getvalue()
    assert status == 2, (status, line)
    assert out.getvalue() == ""
    assert line.startswith("bptt: ")
    assert line.endswith("\n")
    assert line.count("\n") == 1, line
    assert "Traceback" not in line
    assert "unexpected" not in line.replace("unexpected extra argument", ""), line
    return line.strip()


@given(mistake=mistakes, command=st.sampled_from(["validate", "run"]))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_bad_sweep_file_is_one_line_naming_the_field(tmp_path: Path, mistake: tuple[str, Any], command: str) -> None:
    path, value = mistake
    sweep, runs = tmp_path / "sweep.yaml", tmp_path / "runs"
    sweep.write_text(yaml.safe_dump(changed(path, value)))
    # Were it taken for right, it would stop at a cluster that is not there, with a line that names no field.
    aside = ["--runs", str(runs), "--address", "127.0.0.1:1"] if command == "run" else []
    line = complaint([command, str(sweep), *aside])
    field = line.removeprefix("bptt: ").split(":")[0]
    # A limit may be told by the field that breaks it together with another.
    together = {"train.batch_size": "budget.evaluations", "budget.sequence_steps": "budget.evaluations"}
    assert field.startswith((path, together.get(path, path), path.rpartition(".")[0] or path)), line
    assert path.rpartition(".")[2] in line or together.get(path, "-") in line, line
    assert not runs.exists()


def options_of(name: str) -> list[tuple[str, click.Parameter]]:
    """Return the options of a command that take a value of their own kind, by flag."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    typed = (click.types.IntRange, click.types.FloatParamType, click.Choice)
    return [(option.opts[-1], option) for option in command.params if isinstance(option.type, typed)]


TYPED = [(name, flag) for name in COMMANDS for flag, _ in options_of(name)]
WITH_SWEEP = ("validate", "run", "status", "stop", "resume", "report")
# What a shell can hand over: any bytes but zero, those that are no UTF-8 as lone surrogates.
arguments = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff"), max_size=20
).filter(lambda text: not text.startswith("-"))
settings_of_train = st.one_of(
    st.tuples(words, arguments).map("=".join),
    st.tuples(
        st.sampled_from(["hidden_size", "batch_size", "evaluations", "dropout", "learning_rate"]),
        words | st.sampled_from(["-1", "1e400", "nan", "", "[1]", "{a: 1}", "true", "1.5.1", "9" * 400]),
    ).map("=".join),
    st.tuples(st.sampled_from(["cell_type", "optimizer", "precision", "unit", "text"]), words).map("=".join),
    words,
)


def line_of(name: str, *rest: str) -> tuple[list[str], str]:
    """Return a command line, and what its complaint must name."""
    return [name, *rest], rest[-1] if rest else name


command_lines = st.one_of(
    words.map(line_of),
    st.tuples(st.sampled_from(list(COMMANDS)), words).map(lambda both: line_of(both[0], f"--{both[1]}")),
    st.tuples(st.sampled_from(TYPED), words).map(lambda both: ([both[0][0], both[0][1], both[1]], both[0][1])),
    st.sampled_from(WITH_SWEEP).map(lambda name: ([name], "SWEEP")),
    st.tuples(st.sampled_from(WITH_SWEEP), words).map(lambda both: line_of(both[0], "demo", both[1])),
    st.tuples(st.sampled_from(WITH_SWEEP), words).map(lambda both: line_of(*both)),
    st.tuples(st.sampled_from(WITH_SWEEP), arguments).map(lambda both: ([*both], "")),
    words.map(lambda word: line_of("init", word)),
    words.map(lambda word: line_of("train", word)),
    settings_of_train.map(lambda text: (["train", "language_model", "--set", text], text.partition("=")[0].strip())),
    words.map(lambda word: line_of("data", "describe", word)),
    words.map(lambda word: line_of("predict", word)),
)


@given(line=command_lines)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_bad_command_line_is_one_line_naming_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[list[str], str]
) -> None:
    monkeypatch.setenv("BPTT_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    Ledger(Settings.load().study_url)
    words_given, named = line
    assert named in complaint(words_given)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("words", [["status"], ["models", "promote"], ["run"]])
def test_a_missing_argument_is_told_with_the_way_to_examples(words: list[str]) -> None:
    assert f"`bptt {' '.join(words)} --help` has examples" in complaint(words)
