"""How figures look: the same on a light and a dark page, in black and white, and as a picture by itself.

Lines differ in colour (after Okabe and Ito, 2008: the colour-blind tell them apart), in marker and in dashes. Text and
axes are drawn in INK; in a page that becomes the colour of the page's own text, and nothing is drawn behind.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1e23"
"""Dark enough for white paper, and no figure's data has it."""
GREY = "#8c8c8c"
"""For what is there to be compared with; readable on white and on black."""
DOTS_PER_INCH = 150
PIXELS_PER_POINT = 1.6
"""Of a page, at most: wider than that a figure does not grow."""
SIZE = 9
"""Of text, in points."""


@dataclass(frozen=True, slots=True)
class Look:
    """What tells one line from another."""

    color: str
    marker: str
    dashes: Any


LOOKS = (
    Look("#2a86c8", "o", "-"),
    Look("#D55E00", "s", (0, (5, 2))),
    Look("#009E73", "^", (0, (1, 1.2))),
    Look("#CC79A7", "D", (0, (6, 2, 1, 2))),
    Look("#c98500", "v", (0, (3, 1))),
    Look("#8a6fd1", "P", (0, (8, 2))),
    Look("#9a7b4f", "X", (0, (2, 2, 1, 1))),
)


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name; from the eighth on they come again."""
    return {name: LOOKS[index % len(LOOKS)] for index, name in enumerate(names)}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in this project's way, without a screen, and leave matplotlib as it was."""
    import matplotlib

    matplotlib.use("agg")
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.labelcolor")
    ours: dict[Any, Any] = {
        **dict.fromkeys(inked, INK),
        "font.size": SIZE,
        "axes.labelsize": SIZE,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "text.parse_math": False,  # a name may hold a dollar sign
        "svg.fonttype": "none",  # text stays text: small, searched, read aloud
        "svg.hashsalt": "bptt",  # the same figure is the same file
    }
    with matplotlib.rc_context(ours):
        yield


@contextmanager
def borrowing() -> Iterator[None]:
    """Let a library draw in its own style, and leave ours as it was."""
    import matplotlib

    with matplotlib.rc_context():
        yield


def tidy(figure: Figure) -> None:
    """Give a figure that a library drew in its own style ours."""
    from matplotlib.ticker import LogFormatter

    for axes in figure.axes:
        axes.set_facecolor("none")
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.tick_params(which="both", colors=INK, labelsize=SIZE)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set(color=INK, size=SIZE)
            if isinstance(axis.get_major_formatter(), LogFormatter):  # it writes formulas, which are not read here
                axis.set_major_formatter(LogFormatter())
                axis.set_minor_formatter(LogFormatter())
        if (legend := axes.get_legend()) is not None:
            legend.get_frame().set(facecolor="none", edgecolor="none")
            for text in legend.get_texts():
                text.set_color(INK)


def grid(axes: Axes) -> None:
    """Draw lines to read values off by, behind everything."""
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=GREY, alpha=0.3, linewidth=0.6)


def svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG for a page that may hold others: its text in the page's colour, as wide as there is room.

    `name` is a plain word; it begins the ids, which no two figures of a page may share.
    """
    written = io.StringIO()
    figure.savefig(
        written, format="svg", bbox_inches=room(figure), transparent=True, metadata={"Date": None, "Creator": None}
    )
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', head)[1])  # type: ignore[index] # in points
    head = re.sub(r' (?:width|height)="[\d.]+pt"', "", head)
    text = f'{head} style="max-width: {PIXELS_PER_POINT * width:.0f}px">{rest}'
    for before in ('id="', 'href="#', "url(#"):
        text = text.replace(before, f"{before}{name}-")
    return text.replace(INK, "currentColor")


def room(figure: Figure) -> Literal["tight"] | None:
    """Return how a figure is cut: to what is in it where nothing laid it out, which takes a drawing more."""
    return None if figure.get_layout_engine() else "tight"


def png(figure: Figure) -> bytes:
    """Return a figure as a picture on white."""
    written = io.BytesIO()
    figure.savefig(written, format="png", bbox_inches=room(figure), dpi=DOTS_PER_INCH, facecolor="white")
    return written.getvalue()
