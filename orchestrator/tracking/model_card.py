"""The model card: what a registered model is for, how good it is and beside what, and where it ends.

Mitchell et al. (2019), "Model cards for model reporting". It is the description of the model's version, and the file
`model_card.md` beside the model and on its run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.horizon import read_horizon, sentences
from orchestrator.pages import Table, markdown
from orchestrator.tracking.view import SweepView, table
from orchestrator.wording import in_view_order, number, value_of
from workloads.data.catalogue import ENTRIES, OPTIONS, Entry
from workloads.hyperparameters import truncation_length_of

if TYPE_CHECKING:
    from orchestrator.tracking.register import Winner

USES = {
    "language_model": "Continuing texts of the kind it was trained on, and scoring them. It is a small recurrent "
    "network: it has style, and knows nothing. Not for facts, advice, or anything that is taken for a person's words.",
    "forecast": "Forecasting the next rows of the series that it was trained on, or of one like it, from a history of "
    "the same columns in the same units and steps of time. Not for deciding by it alone, least of all about money.",
    "speech": "Transcribing recordings like those it was trained on: the same language, vocabulary, microphones and "
    "noise. Not for identifying people, and not where a misheard word does harm.",
    "translation": "Translating short texts like those it was trained on. Not for contracts, medicine, or anything "
    "where a wrong word does harm.",
    "memory": "Seeing how far back a network remembers. It has no use beyond that.",
}
LIMITS = {
    "language_model": ("Tokens that the training part lacks are read as one unknown token, which it never writes.",),
    "forecast": (
        "What changes the series for good, after training, it cannot know; look at its errors as time goes on.",
    ),
    "speech": (
        "Characters, words and voices that the training part lacks are misheard; see the error rates by speaker.",
    ),
    "translation": ("Words that the training part lacks are spelled out of pieces, or left out.",),
    "memory": ("It answers sequences of its own lag alone.",),
}
LIMITS_OF_ALL = (
    "One seed, one setting, chosen by the validation part: what it has there is a little flattered.",
    "It was judged by its last evaluation, on data of the same source as those it was trained on.",
)


def model_card(winner: Winner, view: SweepView, paths: Mapping[str, str]) -> str:
    """Return the card in Markdown; `paths` are where the MLflow UI shows run, sweep and report."""
    spec, name = view.spec, view.spec.name
    parts = [
        f"# {name}",
        f"`{winner.params.get('cell_type', spec.workload.kind)}` for `{spec.workload.kind}`: trial {winner.number} of "
        f"the sweep **{name}**, the best of its trials in `{spec.objective.metric}` ({spec.objective.direction}).",
        f"[run]({paths['run']}) · [sweep]({paths['sweep']}) · [report]({paths['report']})",
        "## Data",
        data_words(view),
        "## Metrics",
        markdown([metrics_table({"this model": winner.metrics}, view.dataset.baselines)]).strip(),
        "## How far gradients travel",
        horizon_words(winner),
        "## Intended use",
        USES.get(spec.workload.kind, "What its workload, one of the user's own, is for."),
        "## Limits",
        "\n".join(f"- {limit}" for limit in (*LIMITS.get(spec.workload.kind, ()), *LIMITS_OF_ALL)),
        "## Use",
        usage(name, winner.columns, winner.defaults),
        "## Hyperparameters",
        table(("name", "value"), {key: value_of(winner.params[key]) for key in in_view_order(winner.params)}),
    ]
    return "\n\n".join(parts) + "\n"


def data_words(view: SweepView) -> str:
    """Return what the model was trained on, by whose leave, and how it is known again."""
    data, entry = view.dataset, known_data(view)
    if entry is not None:
        licence, whom = entry.licence, f"\n- to be named: {entry.attribution}" if entry.attribution else ""
    elif view.spec.workload.kind == "memory":
        licence, whom = "none needed: the data are generated", ""
    else:
        licence, whom = "not known here; the data are the user's own", ""
    return f"- {data.name}: {data.source}\n- licence: {licence}{whom}\n- fingerprint: `{data.fingerprint}`"


def known_data(view: SweepView) -> Entry | None:
    """Return the catalogue's entry on a sweep's data; None where they are the user's own."""
    option = OPTIONS.get(view.spec.workload.kind)
    if option is None:
        return None
    return ENTRIES.get(str(getattr(view.spec.load_workload(), option, "")))


def headline(metrics: Mapping[str, float]) -> list[str]:
    """Return the metrics that a person wants to see: of held-out parts, not by step, column or speaker; test first."""
    found = [name for name in metrics if name.startswith(("valid_", "test_")) and "/" not in name]
    return sorted(found, key=lambda name: (not name.startswith("test_"), name))


def metrics_table(models: Mapping[str, Mapping[str, float]], baselines: Mapping[str, float]) -> Table:
    """Return what was measured of models on held-out parts, each metric beside the baselines of the same name."""
    names = dict.fromkeys(name for metrics in models.values() for name in headline(metrics))
    beside = list(dict.fromkeys(name.partition("/")[0] for name in baselines))
    rows = [
        [
            name,
            *(number(metrics.get(name)) for metrics in models.values()),
            *(number(baselines.get(f"{each}/{name}")) for each in beside),
        ]
        for name in names
    ]
    return Table(("metric", *models, *beside), rows)


def horizon_words(winner: Winner) -> str:
    """Return what was measured of the gradient, in sentences."""
    horizon = read_horizon(winner.metrics, truncation_length_of(winner.params))
    return " ".join(sentences(horizon)) if horizon is not None else "It was not measured."


def usage(name: str, columns: Mapping[str, list[Any]], defaults: Mapping[str, Any]) -> str:
    """Return the code and the commands that use the model, and what to send to it once it is served."""
    uri = f"models:/{name}@champion"
    return "\n".join(
        [
            "With the variable `MLFLOW_TRACKING_URI` set to where it is registered (`bptt models show` says it):",
            "",
            "```python",
            "import mlflow",
            f'model = mlflow.pyfunc.load_model("{uri}")  # the file requirements.txt in it says what it needs',
            "print(model.predict(model.input_example))  # a table; its columns are those of the signature",
            "```",
            "",
            "```sh",
            f"bptt predict {name}  # what it takes, with an example",
            f"mlflow models serve -m {uri} --env-manager local --port 5001",
            "curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d \\",
            f"  {shlex.quote(shortened(request(columns, defaults)))}",
            "```",
        ]
    )


def request(columns: Mapping[str, list[Any]], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON that a served model takes: the rows of a table, as many as you like, and its options."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    table = {"dataframe_split": {"columns": list(columns), "data": rows}}
    return {**table, "params": dict(params)} if params else table


def shortened(content: Mapping[str, Any], most: int = 400) -> str:
    """Return JSON for people; one that is long ends in dots."""
    text = json.dumps(content, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[:most]} ..."
