"""A real S3 server in a thread (moto), which answers 500, 503 or nothing when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import pytest

BUCKET = "sweeps"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass
class Store:
    """The server's address, and the faults it has yet to give."""

    port: int = 0
    fault: int | None = None
    """The HTTP status that every request is answered with, if it is not None."""

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def uri(self, prefix: str) -> str:
        options = f"scheme=http&endpoint_override={self.endpoint}&region=us-east-1"
        return f"s3://{BUCKET}/{prefix}?{options}"

    def keys(self) -> list[str]:
        import boto3

        client = boto3.client("s3", endpoint_url=f"http://{self.endpoint}", region_name="us-east-1")
        found = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return sorted(each["Key"] for each in found if not each["Key"].endswith("/"))


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    store, backend = Store(), DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        fault = store.fault
        if fault is None:
            return backend(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(f"{fault} Fault", [("Content-Type", "application/xml"), ("Content-Length", "0")])
        return [b""]

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    store.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        import boto3

        urlopen(Request(f"http://{store.endpoint}/moto-api/reset", method="POST")).close()  # it is one for the process
        boto3.client("s3", endpoint_url=f"http://{store.endpoint}", region_name="us-east-1").create_bucket(
            Bucket=BUCKET
        )
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
