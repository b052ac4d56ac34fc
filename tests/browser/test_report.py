"""The report as a reader sees it: a file opened without a network, in the light, in the dark, on a phone, on paper."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.chromium import Visit, ink
from tests.browser.conftest import Visiting

pytestmark = pytest.mark.browser

FIGURES = [
    "history",
    "learning",
    "truncation",
    "importance",
    "settings",
    "front-seconds",
    "front-memory",
    "horizon",
    "timeline",
]
"""The sections that have one."""
PHONE = {"width": 360, "height": 740}
PAPER = {"width": 718, "height": 1047}
"""A4 within margins of a centimetre."""
LEAST_CONTRAST = 4.5
"""Of text, after WCAG 2.2 AA."""
TEXTS = """
() => {
  const colors = text => (text.match(/[\\d.]+/g) || []).map(Number)
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = colors(getComputedStyle(each).backgroundColor)
      if (color.length == 3) return color
    }
    return [255, 255, 255]
  }
  const written = [...document.querySelectorAll('body *')].filter(
    each => [...each.childNodes].some(node => node.nodeType == 3 && node.data.trim())
      && each.getClientRects().length && !['STYLE', 'style'].includes(each.tagName))
  return written.map(each => {
    const style = getComputedStyle(each), drawn = each instanceof SVGElement
    const [front, back] = [light(colors(drawn ? style.fill : style.color)), light(behind(each))]
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05)
    const isOnABar = drawn && style.fill == 'rgb(255, 255, 255)'
    return {text: each.textContent.trim().slice(0, 40), contrast: isOnABar ? Infinity : contrast}
  })
}
"""
"""Every text that is seen, with its contrast; the white numbers on the timeline's bars stand on something else."""


def opened(visit: Visiting, report: str, **options: Any) -> Visit:
    found = visit(offline=True, **options)
    found.page.goto(report)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_and_nothing_is_asked_for(visit: Visiting, report: str, scheme: str) -> None:
    found = opened(visit, report, color_scheme=scheme)
    figures = found.page.locator("figure svg")
    sections = figures.evaluate_all("figures => figures.map(figure => figure.closest('section').id)")
    assert sections == FIGURES
    for figure in figures.all():
        box = figure.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert box["height"] > 100
        assert ink(figure) > 0.01
    assert found.complaints == []
    assert found.requests == [report]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(visit: Visiting, report: str, scheme: str) -> None:
    page = opened(visit, report, color_scheme=scheme).page
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    texts = page.evaluate(TEXTS)
    assert len(texts) > 100
    assert [each for each in texts if each["contrast"] < LEAST_CONTRAST] == []


def test_links_lead_to_what_is_there(visit: Visiting, report: str) -> None:
    page = opened(visit, report).page
    links = page.locator("a[href]")
    targets = links.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    for target, link in zip(targets, links.all(), strict=True):
        assert target.startswith("#")
        link.click()
        top = page.locator(target).bounding_box()
        assert top is not None
        assert -1 <= top["y"] < page.viewport_size["height"]  # type: ignore[index]


def test_a_phone_moves_the_page_up_and_down_alone(visit: Visiting, report: str) -> None:
    page = opened(visit, report, viewport=PHONE, device_scale_factor=2, is_mobile=True).page
    assert page.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate("() => window.innerWidth") == PHONE["width"]  # a wider page would be shrunk
    for figure in page.locator("figure svg").all():
        assert ink(figure) > 0.01


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_has_all_of_it_in_black_on_white(visit: Visiting, report: str, scheme: str) -> None:
    page = opened(visit, report, color_scheme=scheme, viewport=PAPER).page
    page.emulate_media(media="print")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert [each for each in page.evaluate(TEXTS) if each["contrast"] < LEAST_CONTRAST] == []
    assert page.locator("#spec-yaml").is_visible()  # folded on a screen
    cut = "parts => parts.filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.textContent)"
    assert page.locator(".wide").evaluate_all(cut) == []
