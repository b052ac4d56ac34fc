"""The sweep file: what is allowed, what is refused, and that every refusal is one line naming the field."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.space import corners, drawn, is_active
from orchestrator.spec import SweepSpec, difference, is_of_resources, spec_from
from orchestrator.sweep_file import bundled_sweeps, find_spec, read_spec
from tests.orchestrator.conftest import make_spec

GOOD: dict[str, Any] = {
    "name": "shakespeare",
    "workload": {"kind": "language_model", "text": "tinyshakespeare", "unit": "character"},
    "space": {
        "cell_type": ["rnn", "gru", "lstm"],
        "hidden_size": {"int": [64, 512], "log": True},
        "truncation_length": {"int": [8, 256], "log": True},
        "learning_rate": {"float": [1.0e-4, 1.0e-2], "log": True},
        "optimizer": ["Adam", "SGD"],
        "momentum": {"float": [0.5, 0.95], "when": {"optimizer": ["SGD"]}},
    },
    "train": {"batch_size": 32, "num_layers": 1, "dropout": 0.1},
    "objective": {"metric": "valid_loss", "direction": "minimize"},
    "budget": {"trials": 60, "sequence_steps": 5_000_000, "evaluations": 20, "hours": 2},
    "search": {"sampler": "tpe", "pruner": "hyperband", "seed": 7},
    "resources": {"cpus": 1, "gpus": 0.25},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return GOOD with the value at a dotted path replaced, or removed where it is `...`."""
    spec = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    block = spec
    for parent in parents:
        block = block[parent]
    if value is ...:
        del block[last]
    else:
        block[last] = value
    return spec


def refusal(spec: Any) -> str:
    with pytest.raises(SpecError) as caught:
        spec_from(spec)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_good_file_is_read_as_it_stands() -> None:
    spec = read_spec(yaml.safe_dump(GOOD))
    assert spec.name == "shakespeare"
    assert spec.workload.options == {"text": "tinyshakespeare", "unit": "character"}
    assert spec.space["hidden_size"].int_range == (64, 512)
    assert spec.params({"hidden_size": 7})["hidden_size"] == 7
    assert spec.params({})["sequence_steps"] == 5_000_000
    assert spec_from(spec.plain()) == spec


def test_scientific_notation_is_a_number() -> None:
    text = yaml.safe_dump(changed("space.learning_rate", "HERE")).replace("HERE", "{float: [1e-4, 1E-2], log: true}")
    assert read_spec(text.replace("sequence_steps: 5000000", "sequence_steps: 5e6")).space["learning_rate"].bounds == (
        1e-4,
        1e-2,
    )


def test_metric_and_direction_come_from_the_workload() -> None:
    assert spec_from(changed("objective", {})).objective.metric == "valid_loss"
    assert make_spec(objective={"metric": "valid_score"}).objective.direction == "maximize"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", ..., "name: missing"),
        ("name", "../../x", "name: '../../x'"),
        ("name", "x; rm -rf /", "name: 'x; rm -rf /'"),
        ("nmae", "x", "nmae: unknown; allowed: name, workload, space"),
        ("workload.kind", "language_modle", "workload.kind: 'language_modle'; allowed: language_model"),
        ("workload.unit", "letter", "workload.unit: 'letter'; it must be one of character, word"),
        ("workload.txet", "x", "workload.txet: unknown; allowed: text"),
        ("workload", "language_model", "workload: 'language_model'"),
        ("space", {}, "space: "),
        ("space.hidden_size", {"int": [512, 64]}, "space.hidden_size: bounds must rise; given: [512, 64]"),
        ("space.hidden_size", {"int": [0, 64]}, "space.hidden_size: 0; it must be an integer at least 1"),
        ("space.hidden_size", {"int": [1, 64.5]}, "space.hidden_size.int.1: 64.5"),
        ("space.hidden_size", {"int": [1, 64], "lgo": True}, "space.hidden_size.lgo: unknown; allowed: choice, int"),
        ("space.hidden_size", {"int": [1, 64], "log": True, "step": 2}, "space.hidden_size: log and step exclude"),
        ("space.hidden_size", {"int": [1, 64], "float": [1, 2]}, "space.hidden_size: give exactly one of choice"),
        ("space.hidden_size", {"int": [1, 2, 3]}, "space.hidden_size.int: "),
        ("space.hidden_size", 12, "space.hidden_size: 12"),
        ("space.hidden_size", [], "space.hidden_size.choice: "),
        ("space.hidden_size", [8, 8], "space.hidden_size: choices repeat"),
        ("space.learning_rate", {"float": [0, 1], "log": True}, "space.learning_rate: a log scale needs"),
        ("space.learning_rate", {"float": [0.1, float("inf")]}, "space.learning_rate"),
        ("space.cell_type", ["gru", "lstn"], "space.cell_type: 'lstn'; it must be one of rnn"),
        ("space.cell_type", ["nowhere_at_all:Cell"], "space.cell_type: nowhere_at_all:Cell: there is no such module"),
        ("space.hiden_size", [8], "space.hiden_size: unknown; allowed: attention, batch_size"),
        ("space.momentum.when", {"optimiser": ["SGD"]}, "space.momentum.when.optimiser: not a parameter"),
        ("space.momentum.when", {"optimizer": ["Adagrad"]}, "space.momentum.when.optimizer: 'Adagrad' is not among"),
        ("space.sequence_steps", {"int": [1, 2]}, "space.sequence_steps: all trials share one budget"),
        ("train.evaluations", 3, "train.evaluations: all trials share one budget"),
        ("train.hidden_size", 64, "train.hidden_size: also in space:"),
        ("train.dropout", 1.5, "train.dropout: 1.5; it must be a number at least 0 and below 1"),
        ("train.batch_size", "many", "train.batch_size: 'many'; it must be an integer at least 1"),
        ("train.batch_size", None, "train.batch_size: null; it must be an integer"),
        ("train.batch_size", [1], "train.batch_size: [1]"),
        ("train.k1", 16, "train.k1: 16 steps between updates exceed truncation_length (8)"),
        ("space.k1", [4, 16], "space.k1: 16 steps between updates exceed truncation_length (8); steps between"),
        ("train.k1_fraction", 2, "train.k1_fraction: 2.0; it must be a number above 0 and at most 1"),
        ("objective.cost", "money", "objective.cost: 'money'"),
        ("objective.metric", "accuracy", "objective.metric: 'accuracy'; language_model has valid_loss"),
        ("objective.direction", "maximize", "objective.direction: maximize; valid_loss is made best by minimize"),
        ("objective.direction", "down", "objective.direction: 'down'"),
        ("budget.trials", 0, "budget.trials: 0"),
        ("budget.trials", 1.5, "budget.trials: 1.5"),
        ("budget.trials", True, "budget.trials: True"),
        ("budget.sequence_steps", 5000, "budget.evaluations: 20 leave 250 sequence steps between two evaluations"),
        ("budget.hours", "two", "budget.hours: 'two'"),
        ("search.sampler", "bayes", "search.sampler: 'bayes'"),
        ("search.sampler", "grid", "space.hidden_size: the grid sampler needs choices or a step"),
        ("search.pruner", "asha", "search.pruner: 'asha'"),
        ("resources.cpus", 0, "resources.cpus: 0"),
        ("resources.gpus", 1.5, "resources: gpus: 1.5; fractions are for parts of one"),
        ("space.a\nb", None, "space.a b: "),
        ("train.a\nb", 1, "train.a b: unknown"),
        ("resources.memory_gb", 0.01, "resources.memory_gb: 0.01; input should be greater than or equal to 0.1"),
        ("resources.custom", {"disk": 0}, "resources: custom.disk: 0; allowed: from 0.0001"),
        ("resources.custom", {"disk": 1.5}, "resources: custom.disk: 1.5; fractions are for parts of one"),
        ("resources.custom", {"disk": True}, "resources.custom.disk: True; input should be a valid number"),
        ("resources.custom", {"GPU": 1}, "resources: custom: 'GPU'; that is Ray's own: use cpus, gpus, memory_gb"),
        ("resources.custom", {"node:1.2.3.4": 1}, "resources: custom: 'node:1.2.3.4'; a name is a plain word"),
        ("resources.accelerator", "A100; rm", "resources.accelerator: 'A100; rm'; string should match"),
        ("resources.placement", "even", "resources.placement: 'even'; input should be 'pack' or 'spread'"),
        (
            "resources.gpu",
            1,
            "resources.gpu: unknown; allowed: cpus, gpus, memory_gb, custom, accelerator, placement, workers",
        ),
    ],
)
def test_a_mistake_is_refused_by_field_value_and_what_is_allowed(path: str, value: Any, message: str) -> None:
    assert refusal(changed(path, value)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping of name, workload"),
        ("- 1", "a mapping of name, workload"),
        ("a: [", "not YAML"),
        ("a: 1\na: 2", "line 2: a is given twice"),
        ("? [1, 2]\n: 3", "a key must be a plain word"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("\0", "not YAML"),
        ("a: &a [*a]", "name: missing"),
    ],
)
def test_what_is_no_sweep_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        read_spec(text)


nonsense = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["lstm", "int", "float", "when", "log", "x" * 300, "a:b", "-1", "1e400", "\n", "{{}}"]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)


def paths(block: Any, prefix: str = "") -> list[str]:
    found = []
    for key, value in block.items():
        found.append(prefix + key)
        if isinstance(value, dict):
            found += paths(value, f"{prefix}{key}.")
    return found


@given(path=st.sampled_from(paths(GOOD)), value=nonsense)
@settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))
def test_nonsense_in_any_place_is_a_spec_or_one_line_naming_the_field(path: str, value: Any) -> None:
    try:
        spec = spec_from(changed(path, value))
    except SpecError as error:
        message = str(error)
        assert "\n" not in message
        field = message.split(":")[0]
        blocks = {path.split(".")[0], "space", "train", "budget", "workload", "objective"}
        assert field.split(".")[0] in blocks, message
    else:
        assert isinstance(spec, SweepSpec)


@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
@settings(max_examples=300, deadline=None)
def test_any_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(text)
    assert "\n" not in str(caught.value)


def test_bundled_sweeps_are_good_and_found_by_name() -> None:
    assert "demo" in bundled_sweeps()
    for name in bundled_sweeps():
        assert find_spec(name).name == name


def test_a_sweep_that_is_not_there_suggests_one_that_is(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean demo"):
        find_spec("demoo")
    with pytest.raises(SpecError, match="no such sweep file"):
        find_spec(str(tmp_path))
    tmp_path.joinpath("x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        find_spec(str(tmp_path / "x.yaml"))


def test_conditions_decide_which_parameters_a_setting_has() -> None:
    spec = spec_from(GOOD)
    settings = list(corners(spec.space))
    assert len({tuple(setting.items()) for setting in settings}) == len(set(map(str, settings)))
    assert all(("momentum" in setting) == (setting["optimizer"] == "SGD") for setting in settings)
    assert is_active(spec.space["momentum"], {"optimizer": "SGD"})
    assert not is_active(spec.space["momentum"], {})


def test_the_difference_of_two_specs_names_each_change() -> None:
    old, new = spec_from(GOOD), spec_from(changed("space.hidden_size", [8, 16]))
    assert difference(old, old) == []
    assert all(line.startswith("space.hidden_size.") for line in difference(old, new))


def test_resources_may_be_left_to_prediction() -> None:
    spec = make_spec(resources="auto")
    assert spec.resources.is_auto
    assert spec.plain()["resources"] == "auto"
    assert spec_from(spec.plain()) == spec
    changes = difference(make_spec(resources={"cpus": 2}), spec)
    assert 'resources: absent -> "auto"' in changes
    assert all(is_of_resources(change.partition(":")[0]) for change in changes)
    assert not is_of_resources("resourcesful")


def test_another_word_for_resources_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(
        SpecError, match=r"^resources: 'all'; allowed: auto, or a mapping of cpus, gpus, memory_gb, .*, workers$"
    ):
        make_spec(resources="all")


def test_a_setting_drawn_from_a_space_lies_in_it() -> None:
    space = make_spec(
        space={
            "quality": {"float": [0.1, 1.0], "log": True},
            "at": {"int": [2, 20], "step": 6},
            "fate": ["none", "raise"],
            "only": {"int": [1, 3], "when": {"fate": ["raise"]}},
        }
    ).space
    settings = [drawn(space, random.Random(seed)) for seed in range(100)]
    assert all(0.1 <= setting["quality"] <= 1.0 and setting["at"] in (2, 8, 14, 20) for setting in settings)
    assert all(("only" in setting) == (setting["fate"] == "raise") for setting in settings)
    assert {setting.get("only") for setting in settings} == {None, 1, 2, 3}
