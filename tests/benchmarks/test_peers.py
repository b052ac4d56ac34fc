import importlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from orchestrator.spec import spec_from
from tests.benchmarks.peers import __main__ as comparing
from tests.benchmarks.peers import figures, sides
from tests.benchmarks.peers.figures import Run, Spread, TrainedTrial
from tests.benchmarks.peers.scenarios import BARE, DEFAULT, METRIC, OURS, SCENARIOS, TORCHS, TUNED, Scenario, sweep_file
from tests.benchmarks.peers.training import LatestCheckpoint, prepare, read_options, train

SHORT = SCENARIOS["short"]


def run(side: str, number: int, wall_s: float, best_loss: float = 2.0) -> Run:
    return Run(side, number, wall_s, wall_s - 5, 20.0, 100, 200, best_loss, 1.0)


def test_a_ratio_is_taken_within_a_round_and_then_the_median() -> None:
    runs = [
        run(OURS, 0, 10),
        run(TUNED, 0, 20),
        run(OURS, 1, 40),
        run(TUNED, 1, 50),
        run(OURS, 2, 9),
        run(TUNED, 2, 10),
    ]
    assert figures.ratios(runs, TUNED, lambda each: each.wall_s) == Spread(0.8, 0.5, 0.9)


def test_the_table_has_a_line_for_each_side_with_median_least_and_most() -> None:
    text = figures.table([run(OURS, 0, 10), run(OURS, 1, 12), run(OURS, 2, 20), run(BARE, 0, 8), run(BARE, 1, 8)])
    ours, bare = text.splitlines()[2:]
    assert ours.startswith(f"| {OURS} | 12.0 (10.0 to 20.0) | 7.0 (5.0 to 15.0) | 20.0 | 200 (200 to 200) | 2.000")
    assert bare.endswith("| 1.38 (1.25 to 1.50) x |")
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_a_bar_is_met_by_less_time_and_missed_by_a_worse_loss_where_trials_are_pruned() -> None:
    pruned = replace(SHORT, prunes=True, bars={TUNED: 0.7})
    met = figures.verdicts([run(OURS, 0, 6), run(TUNED, 0, 10)], pruned)
    slow = figures.verdicts([run(OURS, 0, 8), run(TUNED, 0, 10)], pruned)
    worse = figures.verdicts([run(OURS, 0, 6, best_loss=2.1), run(TUNED, 0, 10)], pruned)
    assert [lines[0].rpartition(": ")[2] for lines in (met, slow, worse)] == ["met", "MISSED", "MISSED"]


def test_runs_are_read_from_the_file_as_they_were_written(tmp_path: Path) -> None:
    runs = {"short": [run(OURS, 0, 10.12345678), run(DEFAULT, 0, 30)]}
    figures.write(tmp_path / "results.json", {"machine": {"cores": 2}}, runs)
    assert json.loads((tmp_path / "results.json").read_text())["machine"] == {"cores": 2}
    read = figures.read(tmp_path / "results.json")
    assert read["short"][0].wall_s == 10.1235
    assert read["short"][1] == runs["short"][1]


def test_the_tables_of_a_file_are_shown_without_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {"short": [run(OURS, 0, 10), run(TUNED, 0, 20), run(OURS, 1, 10)]}  # broken off in the second round
    figures.write(tmp_path / "results.json", {}, runs)
    comparing.main(["--show", "--output", str(tmp_path / "results.json")])
    assert f"short: 0.50 (0.50 to 0.50) of the time of {TUNED}, at most 0.8 asked for: met" in capsys.readouterr().out


def test_the_machine_is_told_by_what_it_has_and_not_by_its_name() -> None:
    assert set(comparing.machine()) == {"cpu", "cores", "memory_gb", "system"}


def test_a_run_that_lacks_trials_is_no_figure() -> None:
    measured = {"side": OURS, "round": 0, "wall_s": 9.0, "free_share": 1.0, "ended": 110.0}
    trials = [TrainedTrial({}, 101.0, [3.0, 2.5], 1.0), TrainedTrial({}, 100.0, [2.0], 1.0)]
    found = figures.run_of(trials, replace(SHORT, trials=2), measured)
    assert (found.best_loss, found.evaluations, found.from_training_s) == (2.5, 3, 10.0)
    with pytest.raises(RuntimeError, match="2 of 100 trials"):
        figures.run_of(trials, SHORT, measured)


@pytest.mark.parametrize("number", [0, 1])
def test_the_bare_loop_follows_ours_in_every_round(number: int) -> None:
    order = comparing.in_order(number, None)
    assert order.index(BARE) == order.index(OURS) + 1
    assert sorted(order) == sorted(comparing.ORDER)


def test_every_second_round_goes_the_other_way_round() -> None:
    first, second = (comparing.in_order(number, [DEFAULT, TUNED]) for number in (0, 1))
    assert first == second[::-1]


@pytest.mark.parametrize("side", [side for side in sides.PEERS if side != BARE])
def test_a_peer_takes_the_options_that_it_is_given(side: str, tmp_path: Path) -> None:
    given = sides.Round(replace(SHORT, trials=7), 3, tmp_path)
    _, _, module, *options = sides.command(side, given)
    asked = read_options(options, ways=importlib.import_module(module).WAYS)
    own = {"kernel": "torch"} if side == TORCHS else {}
    assert asked.scenario == replace(given.scenario, train={**given.scenario.train, **own})
    assert (asked.seed, asked.folder) == (3, given.folder_of(side))
    assert asked.way in sides.PEERS[side]


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(SystemExit):
        read_options(["--scenario", "long", "--folder", "."])
    with pytest.raises(SystemExit):
        comparing.read_options(["--pairs", "0"])


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_our_side_takes_the_scenario_as_a_sweep_file(scenario: Scenario) -> None:
    spec = spec_from(json.loads(json.dumps(sweep_file(scenario, seed=4))))
    assert (spec.budget.trials, spec.search.seed, spec.resources.workers) == (scenario.trials, 4, 2)


def test_what_a_peer_trained_is_read_from_its_notes(tmp_path: Path) -> None:
    brief = replace(SHORT, sequence_steps=4 * 32 * 32, train={**SHORT.train, "hidden_size": 4})
    asked = replace(read_options(["--scenario", "short", "--folder", str(tmp_path)]), scenario=brief)
    dataset, storage, chosen = prepare(brief), LatestCheckpoint(), {"learning_rate": 0.01, "dropout": 0.0}
    whole = list(train(asked, dataset, chosen, storage))
    part = list(islice(train(asked, dataset, chosen, LatestCheckpoint()), 1))
    first, second = sorted(sides.read_notes(tmp_path), key=lambda trial: trial.began)
    assert first.losses == [each.metrics[METRIC] for each in whole]
    assert second.losses == [each.metrics[METRIC] for each in part] == first.losses[:1]
    assert first.chosen == chosen
    assert first.training_s > 0
    assert storage.content


def test_a_side_that_keeps_evaluations_from_mlflow_is_no_peer(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE metrics (key TEXT, run_uuid TEXT, step INTEGER)")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", [(METRIC, "a", 1), (METRIC, "b", 1)])
        connection.commit()
    tracked = replace(run(OURS, 0, 10), trials=2, evaluations=2)
    sides.check_tracked(tmp_path / "mlflow.db", tracked)
    with pytest.raises(RuntimeError, match="2 evaluations of 2 and 3"):
        sides.check_tracked(tmp_path / "mlflow.db", replace(tracked, evaluations=3))
