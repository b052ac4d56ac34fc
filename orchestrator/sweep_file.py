"""The sweep file: read strictly as YAML, from a path or from those that come with the workloads."""

from __future__ import annotations

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import SpecError
from orchestrator.spec import SweepSpec, one_line, spec_from, stored_spec


def find_spec(sweep: str) -> SweepSpec:
    """Read the sweep file at a path, or the bundled sweep of that name; SpecError where there is neither."""
    return read_spec(_find_text(sweep), sweep)


def find_name(sweep: str) -> str:
    """Return the name that a sweep file gives, or a bundled sweep; its workload need not be here."""
    return stored_spec(read_mapping(_find_text(sweep), sweep)).name


def _find_text(sweep: str) -> str:
    path = Path(sweep)
    bundled = bundled_sweeps()
    if not path.is_file() and sweep in bundled:
        return bundled[sweep]
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{sweep}: not UTF-8 text") from error
    except (OSError, ValueError) as error:
        close = difflib.get_close_matches(sweep, bundled, n=1)
        hint = f"did you mean {close[0]}?" if close else f"bundled sweeps: {', '.join(sorted(bundled))}"
        raise SpecError(f"{one_line(sweep)}: no such sweep file; {hint}") from error


def bundled_sweeps() -> dict[str, str]:
    """Return the texts of the sweeps that come with the workloads, by name."""
    folder = resources.files("workloads") / "sweeps"
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    }


def read_spec(text: str, source: str = "sweep file") -> SweepSpec:
    """Parse and check a sweep file, all but the data: structure, space, and every corner by the workload itself.

    Raises SpecError in one line that names the field, the value and what is allowed.
    """
    return spec_from(read_mapping(text, source))


def read_mapping(
    text: str, source: str, wanted: str = "name, workload, space and so on is needed; see `bptt init`"
) -> dict[Any, Any]:
    """Read YAML strictly as a mapping; SpecError where it is none."""
    try:
        given = yaml.load(text, Loader=StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{source}: not YAML: {one_line(error)}") from error
    if not isinstance(given, dict):
        raise SpecError(f"{source}: a mapping of {wanted}")
    return given


class StrictLoader(yaml.SafeLoader):
    """YAML as people write it: 1e-4 is a number, and a key given twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key given twice, and anything but plain keys."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: a key must be a plain word")
            if key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: {key} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
