"""The sweep in the real MLflow UI: its pages load, charts are drawn, links lead somewhere, and nothing complains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import Visit, ink
from tests.browser.conftest import Visiting
from tests.browser.served import Shown

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

KNOWN = (
    r"404.*/ajax-api/2\.0/mlflow/users/current",  # asked for by the page, and there only with basic-auth
    r"ResizeObserver loop completed with undelivered notifications",  # of its charts' grid
)
"""What MLflow 3.17 complains of by itself, whoever's runs it shows, as regular expressions."""
NOTES = "[data-testid='note-view-outer-container'] a[href], [data-testid='note-editor-preview-content'] a[href]"
"""Links in descriptions."""
SETTLED_MS = 1500
"""Descriptions are drawn behind the page that holds them."""
WINDOW = {"width": 1400, "height": 900}


@pytest.fixture
def mlflow(visit: Visiting, ui: str) -> Iterator[Visit]:
    """A page on the UI; in the end nobody must have complained."""
    found = visit(viewport=WINDOW, base_url=ui.partition("/#")[0])
    yield found
    unknown = [each for each in found.complaints if not any(re.search(known, each) for known in KNOWN)]
    assert unknown == []


def test_the_address_that_the_command_prints_leads_to_the_sweep(mlflow: Visit, ui: str, shown: Shown) -> None:
    page = mlflow.page
    page.goto(ui)
    page.get_by_role("link", name=shown.name, exact=True).first.click()
    page.get_by_text("sweeps").first.wait_for()
    assert shown.parent in page.url


def test_the_table_of_runs_has_the_trials_below_their_sweep(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.runs())
    sweep = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name=shown.name, exact=True))
    sweep.wait_for()
    assert not page.get_by_role("link", name=next(iter(shown.trials)), exact=True).is_visible()
    sweep.get_by_role("button").click()
    for name in shown.trials:
        page.get_by_role("link", name=name, exact=True).wait_for()


def test_the_sweeps_run_says_what_it_is_and_draws_its_metrics(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.run(shown.parent))
    page.get_by_text("12 trials of 40,000 sequence steps").wait_for()
    page.goto(shown.run(shown.parent, "/model-metrics"))
    assert is_drawn(page, "best_valid_loss")


def test_the_sweeps_figures_and_report_are_seen_where_mlflow_keeps_them(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.run(shown.parent, "/artifacts/figures/learning_curves.png"))
    picture = page.locator("img[src*='learning_curves'], img[src^='blob:']").first
    picture.wait_for()
    assert picture.evaluate("picture => picture.naturalWidth") > 500
    page.goto(shown.run(shown.parent, "/artifacts/report.html"))
    page.reload()  # MLflow looks at the path of an artifact only when its page is loaded
    inside = page.frame_locator("iframe").first
    inside.get_by_role("heading", name="How to reproduce").wait_for()
    assert inside.locator("figure svg").count() == 9


def test_a_trials_run_draws_its_learning_curve(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.run(shown.champion, "/model-metrics"))
    assert is_drawn(page, "valid_loss")


def test_the_registered_model_has_its_champion(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(f"/#/models/{shown.name}")
    page.get_by_text("Version 1").first.wait_for()
    page.get_by_text("champion").first.wait_for()


def test_links_in_descriptions_lead_to_what_they_name(mlflow: Visit, shown: Shown) -> None:
    page, model = mlflow.page, f"/#/models/{shown.name}"
    links: dict[str, str] = {}
    for path in (shown.run(shown.parent), shown.run(shown.champion), model, f"{model}/versions/1"):
        page.goto(path)
        page.get_by_text("Description").first.wait_for()
        page.wait_for_timeout(SETTLED_MS)
        for link in page.locator(NOTES).all():
            links[link.evaluate("link => link.href")] = link.inner_text()
    if not links:
        pytest.skip("no description has a link")
    for target, text in links.items():
        page.goto(target)
        page.reload()
        place = page.frame_locator("iframe").first if text == "report" else page
        place.get_by_text("How to reproduce" if text == "report" else shown.name).first.wait_for()


def is_drawn(page: Page, metric: str) -> bool:
    """Tell whether the tab of metrics has a chart of one, with a curve in it."""
    page.get_by_placeholder("Search metric charts").fill(f"^{metric}$")
    chart = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text=metric).first
    curve = chart.locator(".js-plotly-plot .scatterlayer .trace path").first
    curve.wait_for(state="attached")
    return ink(chart) > 0.01
