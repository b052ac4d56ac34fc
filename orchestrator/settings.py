"""Where things are kept: flags first, then BPTT_* variables, then defaults under ./bptt-runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import UserError, masked
from orchestrator.secrets import remember_url

PREFIX = "BPTT_"


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
    lease_s: float = Field(60.0, ge=2, description="seconds after which a driver that gave no sign has lost its sweep")
    ray_address: str = Field("", description="a running Ray cluster; default: Ray inside this process's machine")

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read settings; UserError names the variable that is wrong."""
        environ = os.environ if environ is None else environ
        known = {
            name: environ[PREFIX + name.upper()] for name in cls.model_fields if environ.get(PREFIX + name.upper())
        }
        known |= {name: value for name, value in (flags or {}).items() if value is not None}
        try:
            return cls(**known).complete()
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['input']!r}: {first['msg']}") from error

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
