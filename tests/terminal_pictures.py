"""Pictures of the live views, to be looked at: `python -m tests.terminal_pictures FOLDER`.

A sweep of the scripted workload is run and watched in terminals of three widths; what an emulator has on its screens is
drawn as PNG.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import yaml

from tests.fakes import KIND
from tests.terminal import Terminal

SIZES = ((40, 24), (80, 24), (160, 45))
SIZE = 16
"""Of text, in pixels."""
PAPER, INK = "#14161a", "#d8dadf"
COLOURS = {
    "default": INK, "black": "#30343c", "red": "#e06c75", "green": "#7fc97f", "brown": "#e0c060", "blue": "#6aa5e8",
    "magenta": "#c98bdb", "cyan": "#5fc6c6", "white": "#d8dadf", "brightblack": "#7a7f8a",
}  # fmt: skip
SPEC = {
    "name": "pictured",
    "workload": {"kind": KIND, "pause_s": 0.15},
    "space": {
        "quality": {"float": [0.1, 100.0], "log": True},
        "cell_type": ["rnn", "gru", "layer_norm_lstm"],
        "truncation_length": {"int": [8, 256], "log": True},
        "hidden_size": {"int": [64, 512], "log": True},
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "fate": ["none", "steady", "calm", "diverge"],
    },
    "budget": {"trials": 60, "sequence_steps": 20_000, "evaluations": 9, "hours": 2},
    "search": {"sampler": "random", "pruner": "median", "seed": 4},
}


def draw(terminal: Terminal, path: Path) -> None:
    """Draw what is on a terminal's screen."""
    terminal.settle()
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = {
        bold: ImageFont.truetype(str(folder / f"DejaVuSansMono{'-Bold' if bold else ''}.ttf"), SIZE)
        for bold in (False, True)
    }
    wide, high = round(fonts[False].getlength("M")), round(SIZE * 1.25)
    screen = terminal.screen
    picture = Image.new("RGB", (wide * screen.columns, high * screen.lines), PAPER)
    brush = ImageDraw.Draw(picture)
    for row in range(screen.lines):
        for column in range(screen.columns):
            cell: Any = screen.buffer[row][column]
            colour = COLOURS.get(cell.fg, f"#{cell.fg}")
            brush.text((column * wide, row * high), cell.data, font=fonts[cell.bold], fill=colour)
    picture.save(path)


def main(folder: Path) -> None:
    """Run and watch a sweep, and draw both in every width."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as runs, ExitStack() as opened:
        path = Path(runs, "pictured.yaml")
        path.write_text(yaml.safe_dump(SPEC))

        def start(*arguments: object, columns: int, rows: int) -> Terminal:
            variables = {"BPTT_RUNS": runs, "BPTT_TRACKING_URI": "none"}
            return opened.enter_context(closing(Terminal(*arguments, columns=columns, rows=rows, variables=variables)))

        running = start("run", path, "--in-process", "--workers", 4, columns=80, rows=24)
        running.shows("4 under way")
        watching = {size: start("status", "pictured", "--watch", columns=size[0], rows=size[1]) for size in SIZES}
        running.shows("[12/60]", "pruned")
        for (columns, rows), watched in watching.items():
            watched.shows("ended last", "pruned")
            draw(watched, folder / f"watch-{columns}.png")
            running.resize(columns, rows)
            seen_until = time.monotonic() + 4
            running.until(lambda until=seen_until: time.monotonic() > until, 10, "")  # type: ignore[misc]
            draw(running, folder / f"run-{columns}.png")
        running.interrupt()
        running.ended()
        draw(running, folder / "run-end.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
