"""Registered models as pages and as plain values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from orchestrator.cli.options import flags_given
from orchestrator.errors import masked
from orchestrator.pages import Block, Facts, Heading, Paragraph, Table
from orchestrator.settings import Settings
from orchestrator.tracking.contest import judge
from orchestrator.tracking.model_card import headline, metrics_table
from orchestrator.tracking.versions import Details, RegisteredModel
from orchestrator.wording import duration, in_view_order, number

COLUMNS = ("name", "version", "alias", "trial", "metric", "value", "created")


def list_page(models: Sequence[RegisteredModel], settings: Settings) -> list[Block]:
    """Return all models as a table."""
    if not models:
        return [Paragraph(f"There are no models in {masked(settings.tracking_uri)} yet. Try `bptt run demo`.")]
    rows = [
        (
            model.name,
            model.version,
            model.alias or "-",
            str(model.trial),
            model.metric,
            number(model.value),
            f"{duration(time.time() - model.created)} ago",
        )
        for model in models
    ]
    return [Table(COLUMNS, rows)]


def show_page(found: Details, settings: Settings) -> list[Block]:
    """Return one model: where it comes from, how good it is beside baselines, and how it is used."""
    model = found.model
    facts = [
        ("model", model.uri),
        ("alias", model.alias or "none"),
        *([("decision", model.decision)] if model.decision else []),
        ("trial", f"{model.trial} of {model.name}"),
        ("aim", f"{found.direction} {model.metric}, which came to {number(model.value)}"),
        ("data", f"{found.data}, fingerprint {found.fingerprint}"),
        *((f"{page} in MLflow", f"/{path}") for page, path in found.pages.items()),
    ]
    uses = [
        ("predict", f"bptt predict {model.uri}{flags_given()}"),
        ("serve", f"mlflow models serve -m {model.uri} --env-manager local --port 5001"),
        ("", f"with MLFLOW_TRACKING_URI={masked(settings.tracking_uri)}"),
    ]
    return [
        Facts(facts),
        Heading("Metrics"),
        metrics_table({model.uri: found.metrics}, found.baselines),
        Heading("Hyperparameters"),
        Facts([(name, found.params[name]) for name in in_view_order(found.params)]),
        Heading("Use"),
        Facts(uses),
    ]


def comparison(first: Details, second: Details) -> dict[str, Any]:
    """Return two versions and what is different, as plain values."""
    verdict = judge(second.entrant, first.entrant)
    both = [name for name in headline(first.metrics) if name in second.metrics]
    return {
        "first": first.plain(),
        "second": second.plain(),
        "metric": verdict.metric,
        "second_is_better": verdict.is_better if verdict.metric else None,
        "verdict": f"{second.model.uri}: {verdict.reason}",
        "differences": {name: second.metrics[name] - first.metrics[name] for name in both},
        "params": params_apart(first, second),
    }


def params_apart(first: Details, second: Details) -> dict[str, list[str | None]]:
    """Return the hyperparameters in which two versions differ."""
    names = in_view_order(dict.fromkeys([*first.params, *second.params]))
    pairs = {name: [first.params.get(name), second.params.get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def compare_page(first: Details, second: Details) -> list[Block]:
    """Return two versions side by side."""
    found, titles = comparison(first, second), [title(each) for each in (first, second)]
    metrics = metrics_table(dict(zip(titles, (first.metrics, second.metrics), strict=True)), second.baselines)
    rows = [[*row[:3], number(found["differences"].get(row[0])), *row[3:]] for row in metrics.rows]
    page: list[Block] = [
        Paragraph(f"{found['verdict']}."),
        Table((*metrics.columns[:3], "difference", *metrics.columns[3:]), rows),
    ]
    apart = [[name, str(a or "-"), str(b or "-")] for name, (a, b) in found["params"].items()]
    if apart:
        page.append(Table(("hyperparameter", *titles), apart))
    if first.model.name == second.model.name and second.model.alias != "champion":
        named = f"{second.model.name}/{second.model.version}"
        page.append(Paragraph(f"`bptt models promote {named}{flags_given()}` scores both anew before it promotes."))
    return page


def title(found: Details) -> str:
    """Return a short name of a version for the head of a column."""
    model = found.model
    return f"{model.name}/{model.version}" + (f" {model.alias}" if model.alias else "")
