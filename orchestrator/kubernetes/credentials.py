"""Secrets that an installation refers to: which are missing, and random ones for what runs inside the cluster.

One that is there is never changed, none is shown, and none stands on a command line: kubectl reads them from its stdin.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from orchestrator.kubernetes.kubectl import Absent, Exists, Kubectl, Object, name_of, within
from orchestrator.kubernetes.values import Values

DATABASES, TRACKING, STORAGE = "bptt-databases", "bptt-tracking", "bptt-storage"
TOKEN_KEY = "auth_token"
"""Where KubeRay looks for the token in the Secret that `authOptions` names."""
PART_OF = "app.kubernetes.io/part-of"
LABELS = {PART_OF: "bptt"}
BUCKET = "bptt"
KEYS_OF_S3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class Need:
    """A Secret that the objects refer to."""

    name: str
    keys: frozenset[str]
    """Those that are referred to one by one."""


@dataclass(slots=True)
class Missing:
    """What is not there of the Secrets that are needed."""

    made: dict[str, dict[str, str]] = field(default_factory=dict)
    """Whole Secrets that can be made, by their names."""
    by_hand: list[Need] = field(default_factory=list)
    """Those of which only the user knows what is in them, with all their keys."""
    without: list[Need] = field(default_factory=list)
    """Those that are there, with the keys that they lack."""


def needs(rendered: Sequence[Object]) -> list[Need]:
    """Return the Secrets that the objects refer to, without those that may be missing."""
    found: dict[str, set[str]] = defaultdict(set)
    own = {name_of(each) for each in rendered if each["kind"] == "Secret"}
    for each in rendered:
        for name, keys in _references(each):
            found[name].update(keys)
    return [Need(name, frozenset(keys)) for name, keys in sorted(found.items()) if name not in own]


def _references(found: Any) -> Iterator[tuple[str, Sequence[str]]]:
    if isinstance(found, list):
        for each in found:
            yield from _references(each)
    if not isinstance(found, dict):
        return
    if found.get("optional"):
        return
    for key, value in found.items():
        match key, value:
            case "secretKeyRef", {"name": name, "key": wanted} if not value.get("optional"):
                yield name, [wanted]
            case "secretRef", {"name": name} if not value.get("optional"):
                yield name, []
            case "secret", {"secretName": name} if not value.get("optional"):
                yield name, [item["key"] for item in value.get("items", ())]
            case "secret", {"name": name} if not value.get("optional"):
                yield name, [item["key"] for item in value.get("items", ())]
            case "authOptions", {"mode": "token", "secretName": name}:
                yield name, [TOKEN_KEY]
            case _:
                yield from _references(value)


def missing(kubectl: Kubectl, rendered: Sequence[Object], values: Values, environ: Mapping[str, str]) -> Missing:
    """Compare what is needed with what is there; `environ` may hold the keys of an S3 server that is the user's own."""
    found = Missing()
    tokens = {name for each in rendered for name, keys in _references(each) if TOKEN_KEY in keys}
    for need in needs(rendered):
        try:
            keys = keys_of(kubectl, need.name)
        except Absent:
            made = _made(need.name, rendered, values, environ, is_token=need.name in tokens)
            if made is None:
                found.by_hand.append(need)
            else:
                found.made[need.name] = made
            continue
        if lacking := need.keys - keys:
            found.without.append(Need(need.name, lacking))
    return found


def keys_of(kubectl: Kubectl, name: str) -> set[str]:
    """Return the keys of a Secret without reading what is in it; Absent where there is none."""
    template = '{{range $key, $value := .data}}{{$key}}{{"\\n"}}{{end}}'
    return set(kubectl.run("get", "secret", name, f"--output=go-template={template}").split())


def make(kubectl: Kubectl, name: str, content: Mapping[str, str]) -> bool:
    """Create a Secret; tell whether it was not there yet."""
    try:
        kubectl.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": kubectl.namespace, "labels": LABELS},
                "stringData": dict(content),
            }
        )
    except Exists:
        return False
    return True


def _made(
    name: str, rendered: Sequence[Object], values: Values, environ: Mapping[str, str], *, is_token: bool
) -> dict[str, str] | None:
    """Return what a Secret may hold that nobody has to know before; None where somebody must."""
    services = {name_of(each) for each in rendered if each["kind"] == "Service"}
    if name == TRACKING:
        return {"username": "bptt", "password": random(), "flask_secret": random()}
    if name == DATABASES and "postgres" in services:
        return databases("postgres:5432")
    if name == STORAGE and "seaweedfs" in services:
        return storage("http://seaweedfs:8333", values.s3.bucket or BUCKET, f"bptt{random()[:12]}", random())
    keys = [environ.get(variable, "") for variable in KEYS_OF_S3]
    if name == STORAGE and values.s3.endpoint and values.s3.bucket and all(keys):
        return storage(values.s3.endpoint, values.s3.bucket, *keys)
    return {TOKEN_KEY: random()} if is_token else None


def random() -> str:
    """Return a password that no URL has to quote."""
    return secrets.token_hex(32)


def databases(server: str) -> dict[str, str]:
    """Return passwords and URLs of the three databases, a role each, on a PostgreSQL server of the cluster."""
    passwords = {name: random() for name in ("sweeps", "mlflow", "mlflow_auth")}
    urls = {"sweeps": "study_url", "mlflow": "mlflow_url", "mlflow_auth": "mlflow_auth_url"}
    return {
        "superuser_password": random(),
        **{f"{name}_password": password for name, password in passwords.items()},
        **{
            urls[name]: f"postgresql+psycopg://{name}:{password}@{server}/{name}"
            for name, password in passwords.items()
        },
    }


def storage(endpoint: str, bucket: str, key: str, secret: str) -> dict[str, str]:
    """Return an S3 server's place, and what pyarrow and MLflow are told of it."""
    parts = urlsplit(endpoint)
    return {
        "access_key_id": key,
        "secret_access_key": secret,
        "endpoint": endpoint,
        "bucket": bucket,
        "checkpoints_uri": f"s3://{bucket}/checkpoints?endpoint_override={parts.netloc}&scheme={parts.scheme}",
        "artifacts_uri": f"s3://{bucket}/artifacts",
    }


def token_secret(cluster: Object) -> str:
    """Return the name of the Secret with a RayCluster's token; empty where it has none."""
    auth = within(cluster, "spec", "authOptions") or {}
    return str(auth.get("secretName") or name_of(cluster)) if auth.get("mode") == "token" else ""
