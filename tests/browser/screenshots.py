"""Pictures for the README of what the bundled sweep left behind: `make screenshots`, behind `make sweep`."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.options import existing_ledger
from orchestrator.errors import BpttError, UserError
from orchestrator.report.html import html_report
from orchestrator.settings import Settings
from tests.browser.chromium import NO_ASSISTANT, PATIENCE_MS, browsing, why_not
from tests.browser.served import look_up, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize

    from orchestrator.database.ledger import Ledger

NAME = "demo"
FOLDER = Path(__file__).with_name("pictures")
SIZE: ViewportSize = {"width": 1200, "height": 800}
COLUMNS = [
    "tags.`bptt.state`",
    "metrics.`valid_loss`",
    "params.`cell_type`",
    "params.`hidden_size`",
    "params.`truncation_length`",
    "params.`learning_rate`",
]
COLORS = 64
MOST_KB = 150


def save(png: bytes, name: str) -> None:
    """Write a screenshot in few colours, which makes it small."""
    from PIL import Image

    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.png"
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(COLORS).save(path, optimize=True)
    kilobytes = path.stat().st_size / 1000
    print(f"wrote {path} ({kilobytes:.0f} kB)")
    if kilobytes > MOST_KB:
        raise BpttError(f"{path} is larger than {MOST_KB} kB; fewer COLORS make it smaller")


def picture_report(browser: Browser, ledger: Ledger) -> None:
    """Take the report's first screen."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        path.write_text(html_report(ledger, NAME), encoding="utf-8")
        page = browser.new_page(viewport=SIZE)
        page.goto(path.as_uri())
        save(page.screenshot(), "report")


def picture_runs(browser: Browser, settings: Settings) -> None:
    """Take the table of runs in the MLflow UI: the sweep and its trials, with what was swept and what came of it."""
    with serving(settings.runs) as address:
        shown = look_up(settings, NAME)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(NO_ASSISTANT)
        state = f'MLflowLocalStorage-1.1-ExperimentPage-["{shown.experiment}"]-ReactComponentState'
        wanted = {"selectedColumns": COLUMNS, "runsExpanded": {shown.parent: True}}
        page.add_init_script(f"localStorage.setItem({json.dumps(state)}, {json.dumps(json.dumps(wanted))})")
        page.goto(f"{address.partition('/#')[0]}{shown.runs()}?workflowType=machine_learning")
        sweep = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name=NAME, exact=True))
        sweep.wait_for()
        trial = page.get_by_role("link", name=next(reversed(shown.trials)), exact=True)
        if not trial.is_visible():
            sweep.get_by_role("button").click()
        trial.wait_for()
        save(page.screenshot(), "mlflow")


def main() -> None:
    """Write all pictures; exit as `bptt` does where something is missing."""
    settings = Settings.load({})
    try:
        if reason := why_not():
            raise UserError(reason)
        ledger = existing_ledger(settings)
        ledger.sweep(NAME)  # raises where `make sweep` was not run
        with browsing() as browser:
            picture_report(browser, ledger)
            picture_runs(browser, settings)
    except BpttError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
