"""What is written in settings: no secret, the names of services that there are, and MLflow's hosts."""

from __future__ import annotations

import base64
import fnmatch
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.deploy.pods import pods_of
from tests.deploy.rendered import ROOT, Object, named, names, of_kind, title

HOSTS, ORIGINS = "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
SECRET_NAME = re.compile(r"(?i)password|passwd|secret|token|access_key|credential|private_key")
NO_SECRETS = re.compile(r"(?i)_(file|path)$|^automount")
"""Names that say where a secret is."""
SECRET_TEXT = (
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s@]+@"),  # a URL with a password
    re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"\b(ghp|gho|glpat|xoxb|hf)[-_][A-Za-z0-9_-]{20,}\b"),
)
URL = re.compile(r"https?://[^\s\"',]+")


def slips(objects: Sequence[Object]) -> list[str]:
    """Find secrets that are written, addresses of nothing, and hosts by which MLflow would not answer."""
    return [*secrets_written(objects), *addresses(objects), *hosts(objects), *proxied(objects)]


def secrets_written(objects: Sequence[Object]) -> list[str]:
    """Secrets are made at install; what renders is in a repository, and in everyone's hands."""
    found = [f"{title(each)}: a Secret is written out" for each in of_kind(objects, "Secret")]
    for each in objects:
        for path, value in _texts(each):
            # A key of a mapping, or `name: X, value: Y` of a variable.
            name = path[-2] if path[-1] == "value" else path[-1]
            if SECRET_NAME.search(name) and not NO_SECRETS.search(name) and path[-2:-1] in (("data",), (name,)):
                found.append(f"{title(each)}: {name} is written out")
            if any(pattern.search(value) or pattern.search(_decoded(value)) for pattern in SECRET_TEXT):
                found.append(f"{title(each)}: {'.'.join(path)} holds a secret")
    return found


def _texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        # Of a variable its name stands where its place would.
        own = (
            (*path[:-1], value["name"]) if path and path[-1].isdigit() and isinstance(value.get("name"), str) else path
        )
        for key, each in value.items():
            yield from _texts(each, (*own, str(key)))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _texts(each, (*path, str(place)))


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode() if len(value) > 16 else ""
    except ValueError:
        return ""


def addresses(objects: Sequence[Object]) -> list[str]:
    """Find URLs in settings whose host is no service, or whose port is none of its own."""
    ports = {
        each["metadata"]["name"]: {port["port"] for port in each["spec"]["ports"]}
        for each in of_kind(objects, "Service")
    }
    outside = {rule.get("host") for each in of_kind(objects, "Ingress") for rule in each["spec"].get("rules", ())}
    found = []
    for name, text in _settings(objects):
        for url in map(urlsplit, URL.findall(text)):
            service = (url.hostname or "").partition(".")[0]
            if url.hostname in outside:
                continue
            if service not in ports:
                found.append(f"{name}: there is no Service {url.hostname}")
            elif (url.port or 80) not in ports[service]:
                found.append(f"{name}: Service {service} has no port {url.port or 80}")
    return found


def _settings(objects: Sequence[Object]) -> Iterator[tuple[str, str]]:
    for each in of_kind(objects, "ConfigMap"):
        for key, value in (each.get("data") or {}).items():
            if key.isupper():
                yield f"{title(each)}: {key}", value
    for pod in pods_of(objects):
        for container in pod.containers:
            for variable in container.get("env", ()):
                yield f"{pod.owner}: {variable['name']}", variable.get("value", "")


def hosts(objects: Sequence[Object]) -> list[str]:
    """Find names by which clients call MLflow and it would not answer; browsers send an origin as well."""
    if "mlflow" not in names(objects, "Service"):
        return []
    said = (
        named(objects, "ConfigMap", "mlflow-settings").get("data", {})
        if ("mlflow-settings" in names(objects, "ConfigMap"))
        else {}
    )
    allowed = [host.strip() for host in said.get(HOSTS, "").split(",")]
    origins = [origin.strip() for origin in said.get(ORIGINS, "").split(",")]
    if "*" in allowed or "*" in origins:
        return ["ConfigMap/mlflow-settings: MLflow answers to every host or origin"]
    forms = ["mlflow", "mlflow.bptt", "mlflow.bptt.svc", "mlflow.bptt.svc.cluster.local"]
    wanted = [name + port for name in forms for port in ("", ":5000")] + ["localhost:5000", "127.0.0.1:5000"]
    found = []
    for each in of_kind(objects, "Ingress"):
        public = [rule["host"] for rule in each["spec"].get("rules", ()) if rule.get("host")]
        wanted += [host + port for host in public for port in ("", ":443")]
        lacking = [host for host in public if f"https://{host}" not in origins]
        found += [f"ConfigMap/mlflow-settings: {ORIGINS} lacks https://{host}" for host in lacking]
    missing = [host for host in wanted if not any(fnmatch.fnmatch(host, each) for each in allowed)]
    return found + [f"ConfigMap/mlflow-settings: {HOSTS} lacks {host}" for host in missing]


def proxied(objects: Sequence[Object]) -> list[str]:
    """Only MLflow's server may reach artifacts: its clients must not ask it for addresses of their own there."""
    found = []
    for each in of_kind(objects, "ConfigMap"):
        data = each.get("data") or {}
        if "BPTT_TRACKING_URI" not in data:
            continue
        for way in ("UPLOAD", "DOWNLOAD"):
            if data.get(f"MLFLOW_ENABLE_PROXY_MULTIPART_{way}") != "false":
                found.append(f"{title(each)}: MLFLOW_ENABLE_PROXY_MULTIPART_{way} is not false")
    return found


def in_files() -> list[str]:
    """Find secrets in the files themselves, their comments too."""
    return [
        f"{path.relative_to(ROOT)}:{number}: a secret"
        for path in sorted((ROOT / "k8s").rglob("*"))
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(pattern.search(line) for pattern in SECRET_TEXT)
    ]
