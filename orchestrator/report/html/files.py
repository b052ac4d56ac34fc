"""The report's page and figures as files: one function draws each figure, for the page and for MLflow alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.database.ledger import Ledger
from orchestrator.errors import masked
from orchestrator.looks import drawing, png, svg, tidy
from orchestrator.report.html import quality, trials
from orchestrator.report.html.page import page
from orchestrator.report.html.story import Story, read_story
from orchestrator.report.html.timeline import timeline
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"


def html_report(ledger: Ledger, name: str) -> str:
    """Return what a sweep found as one HTML file; SweepNotFound where there is none."""
    story = read_story(ledger, name)
    with drawing():
        return page_with(story, {each: svg(figure, each) for each, figure in draw(story).items()})


def figures_and_page(settings: Settings, name: str) -> Callable[[Mapping[str, Any] | None], dict[str, bytes]]:
    """Draw the figures; return what gives them and the report by file name, told how the sweep ended where it has."""
    story = read_story(Ledger(settings.study_url), name)
    with drawing():
        figures = draw(story)
        pictures = {f"figures/{each}.png": png(figure) for each, figure in figures.items()}
        for figure in figures.values():
            figure.set_layout_engine("none")  # what one drawing laid out stays; it takes a third of the next one's time
        drawings = {each: svg(figure, each) for each, figure in figures.items()}

    def files(ended: Mapping[str, Any] | None) -> dict[str, bytes]:
        told = story if ended is None else story.as_it_ended(ended)
        return {PAGE: page_with(told, drawings).encode(), **pictures}

    return files


def draw(story: Story) -> dict[str, Figure]:
    """Return all figures that there is something to draw of, by name."""
    fronts = {f"quality_for_{found.cost}": quality.front(story, found) for found in story.report.fronts}
    drawn = {
        "history": trials.history(story),
        "learning_curves": trials.learning_curves(story),
        "truncation_lengths": quality.truncation_lengths(story),
        "importances": quality.importances(story),
        "parallel_coordinates": trials.parallel_coordinates(story),
        **fronts,
        "horizons": quality.horizons(story),
        "timeline": timeline(story),
    }
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    for figure in figures.values():
        tidy(figure)
    return figures


def page_with(story: Story, drawings: Mapping[str, str]) -> str:
    """Return the page with its figures in it, without passwords."""
    return masked(page(story, drawings))
