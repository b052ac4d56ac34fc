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

KNOWN: tuple[str, ...] = ()
"""What MLflow complains of by itself, whoever's runs it shows, as regular expressions."""
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
    page.get_by_role("link", name="bptt/memory").click()
    page.get_by_role("link", name=shown.name, exact=True).first.click()
    page.get_by_text("sweeps").first.wait_for()
    assert shown.parent in page.url


def test_the_table_of_runs_has_the_trials_below_their_sweep(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.runs())
    page.get_by_role("link", name=shown.name, exact=True).first.wait_for()
    for name in shown.trials:
        page.get_by_role("link", name=name, exact=True).first.wait_for()


def test_the_sweeps_run_says_what_it_is_and_draws_its_metrics(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.run(shown.parent))
    page.get_by_text("12 trials of 40,000 sequence steps").wait_for()
    page.goto(shown.run(shown.parent, "/model-metrics"))
    assert "best_valid_loss" in charts(page)


def test_the_sweeps_figures_and_report_are_seen_where_mlflow_keeps_them(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.run(shown.parent, "/artifacts/figures/learning_curves.png"))
    picture = page.locator("img[src*='learning_curves'], img[src^='blob:']").first
    picture.wait_for()
    assert picture.evaluate("picture => picture.naturalWidth") > 500
    page.goto(shown.run(shown.parent, "/artifacts/report.html"))
    inside = page.frame_locator("iframe").first
    inside.get_by_text("How to reproduce").wait_for()
    assert inside.locator("figure svg").count() == 9


def test_a_trials_run_draws_its_learning_curve(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(shown.run(shown.champion, "/model-metrics"))
    assert "valid_loss" in charts(page)


def test_the_registered_model_has_its_champion(mlflow: Visit, shown: Shown) -> None:
    page = mlflow.page
    page.goto(f"/#/models/{shown.name}")
    page.get_by_text("Version 1").first.wait_for()
    page.get_by_text("champion").first.wait_for()


def charts(page: Page) -> list[str]:
    """Return the titles of the charts that are drawn, each with something in it."""
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    cards.first.wait_for()
    page.locator(".js-plotly-plot .main-svg path").first.wait_for(state="attached")
    for drawn in page.locator(".js-plotly-plot").all():
        assert ink(drawn) > 0.001
    return [text.split("\n")[0] for text in cards.all_inner_texts()]
