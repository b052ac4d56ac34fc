"""Where things are kept: flags first, then BPTT_* variables, then defaults under ./bptt-runs.

What is secret may stand in a file, as Docker and Kubernetes mount it: BPTT_STUDY_URL_FILE names the file that holds
what BPTT_STUDY_URL would say, and so for every other setting.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import UserError, masked
from orchestrator.secrets import remember_url

PREFIX, IN_FILE = "BPTT_", "_FILE"
OTHERS_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""What libraries read from the environment themselves, and what may stand in a file too."""

LEASE_S = 20.0
"""Ten renewals missed are a driver gone rather than a slow one, and one that only slept goes on if nobody took over."""

Keep = Literal["best", "all"]
"""Of which ended trials the last checkpoint stays: of the best (with `objective.cost`, of the front), or of all."""


class Settings(BaseModel):
    """Where a user's sweeps, metrics, models and checkpoints live, and which cluster trains them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Path = Field(Path("bptt-runs"), description="folder of everything below that is not set")
    study_url: str = Field("", description="SQLAlchemy URL of the sweeps' database; default: SQLite in the runs folder")
    tracking_uri: str = Field("", description="MLflow tracking URI; `none` switches it off; default: SQLite there")
    artifacts: str = Field("", description="URI of MLflow's artifacts, for an SQLite tracking database; default: there")
    checkpoints: str = Field("", description="URI of the checkpoints' folder (file, s3, gs); default: there")
    memory_gb: float | None = Field(
        None, gt=0, description="memory of each machine that trials may take together; default: what is free"
    )
    keep: Keep = Field("best", description="of which ended trials the last checkpoint stays: of the best, or of all")
    lease_s: float = Field(LEASE_S, ge=2, description="seconds without a sign after which a driver has lost its sweep")
    ray_address: str = Field("", description="a running Ray cluster; default: Ray inside this process's machine")

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read settings; UserError names the variable that is wrong."""
        if environ is None:
            environ = os.environ
            for name in OTHERS_SECRETS:
                if value := given(environ, name):
                    os.environ[name] = value
        variables = {name: PREFIX + name.upper() for name in cls.model_fields}
        known = {name: value for name, variable in variables.items() if (value := given(environ, variable))}
        known |= {name: value for name, value in (flags or {}).items() if value is not None}
        try:
            return cls(**known).complete()
        except ValidationError as error:
            first = error.errors()[0]
            variable = variables[str(first["loc"][0])]
            if not environ.get(variable) and (file := environ.get(variable + IN_FILE)):
                # What stands in a file may be secret, and is not shown.
                raise UserError(f"{variable}{IN_FILE}: {file}: {first['msg']}") from None
            raise UserError(f"{variable}: {first['input']!r}: {first['msg']}") from error

    def model_post_init(self, _context: Any) -> None:
        """Keep what is secret in the URLs from whatever is printed and recorded."""
        for url in (self.study_url, self.tracking_uri, self.artifacts, self.checkpoints):
            remember_url(url)

    def __repr_args__(self) -> Any:
        return [(name, masked(value) if isinstance(value, str) else value) for name, value in super().__repr_args__()]

    def complete(self) -> Settings:
        """Fill in the defaults that follow from the runs folder."""
        runs = self.runs.expanduser().absolute()
        return self.model_copy(
            update={
                "runs": runs,
                "study_url": self.study_url or f"sqlite:///{runs / 'study.db'}",
                "tracking_uri": self.tracking_uri or f"sqlite:///{runs / 'mlflow.db'}",
                "artifacts": self.artifacts or (runs / "artifacts").as_uri(),
                "checkpoints": self.checkpoints or (runs / "checkpoints").as_uri(),
            }
        )


def given(environ: Mapping[str, str], variable: str) -> str:
    """Return what a variable says, or the file that VARIABLE_FILE names, without white space round it; else nothing.

    Raises UserError where the two say different things, or where the file cannot be read or is empty.
    """
    value, file = environ.get(variable, ""), environ.get(variable + IN_FILE, "")
    if not file:
        return value
    try:
        content = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{variable}{IN_FILE}: {file} cannot be read: {reason}") from error
    if not content:
        raise UserError(f"{variable}{IN_FILE}: {file} is empty")
    if value and value != content:
        raise UserError(f"{variable} and {variable}{IN_FILE} are both given; unset one of them")
    return content
