"""What a user may say about an installation: images, sizes, storage, hosts. Checked strictly, and never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from orchestrator.errors import UserError
from orchestrator.spec import Block, one_line

QUANTITY = r"^[1-9][0-9]*(Mi|Gi|Ti|M|G|T)$"
IMAGE = r"^[a-z0-9][a-z0-9._:/-]*(@sha256:[0-9a-f]{64})?$"
"""Of a registry, a path, a tag and a digest, all but the path as wanted."""
TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
DNS = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"
BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
ENDPOINT = r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$"

Image = Annotated[str, Field(pattern=IMAGE, max_length=255)]
Host = Annotated[str, Field(pattern=DNS, max_length=253)]
Memory = Annotated[str, Field(pattern=QUANTITY, description="as Kubernetes writes it, 8Gi")]


class Size(Block):
    """Of a pod. CPUs are whole: Ray counts them so."""

    cpus: int | None = Field(None, ge=1)
    memory: Memory | None = None


class Workers(Size):
    """Of one group: how large each is, and between which bounds their number follows what sweeps ask for."""

    least: int | None = Field(None, ge=0)
    most: int | None = Field(None, ge=1)


class GpuWorkers(Workers):
    """Of a group with GPUs."""

    gpus: int | None = Field(None, ge=1)


class ObjectStore(Block):
    """An S3 server; who may use it is a Secret."""

    endpoint: str | None = Field(None, pattern=ENDPOINT)
    bucket: str | None = Field(None, pattern=BUCKET)


class Hosts(Block):
    """Names under which an Ingress answers."""

    mlflow: Host | None = None


class Values(Block):
    """All that can be changed of an overlay without writing one; what is not given stays as it is shipped."""

    registry: Image | None = Field(None, description="where all three images are: REGISTRY/bptt-trainer and so on")
    tag: str | None = Field(None, pattern=TAG, description="of all three")
    image: Image | None = Field(None, description="of the trainer, in full")
    gpu_image: Image | None = Field(None, description="of the trainer with CUDA, in full")
    mlflow_image: Image | None = Field(None, description="of MLflow's server, in full")
    head: Size = Size()
    workers: Workers = Workers()
    gpu_workers: GpuWorkers = GpuWorkers()
    storage_class: Host | None = None
    hosts: Hosts = Hosts()
    s3: ObjectStore = ObjectStore()

    def plain(self) -> dict[str, Any]:
        """Return what was given, and nothing else."""
        return {name: value for name, value in self.model_dump(exclude_none=True).items() if value != {}}


def read_values(given: Mapping[str, Any], assigned: Mapping[str, Any] | None = None) -> Values:
    """Check values, those of a file first, then single ones by dotted names; UserError names the first wrong one."""
    merged = dict(given)
    for name, value in (assigned or {}).items():
        *blocks, last = name.split(".")
        place = merged
        for block in blocks:
            inner = place.get(block)
            place[block] = dict(inner) if isinstance(inner, Mapping) else {}
            place = place[block]
        place[last] = value
    try:
        values = Values.model_validate(merged)
    except ValidationError as error:
        raise UserError(_explain(error)) from error
    for name in ("workers", "gpu_workers"):
        group: Workers = getattr(values, name)
        if group.least is not None and group.most is not None and group.least > group.most:
            raise UserError(f"values: {name}.least: {group.least} is more than {name}.most, which is {group.most}")
    return values


BLOCKS: dict[str, type[BaseModel]] = {
    "head": Size,
    "workers": Workers,
    "gpu_workers": GpuWorkers,
    "hosts": Hosts,
    "s3": ObjectStore,
}


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path) or "values"
    if first["type"] == "extra_forbidden":
        model = BLOCKS[path[0]] if len(path) > 1 else Values
        return f"values: {name}: unknown; allowed: {', '.join(model.model_fields)}"
    given = "" if isinstance(first["input"], Mapping) else f"{one_line(repr(first['input']))}; "
    return f"values: {name}: {given}{first['msg'][:1].lower()}{first['msg'][1:]}"
