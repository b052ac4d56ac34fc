"""A real S3 server in a thread (moto), which answers 500, 503 or nothing when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

BUCKET = "sweeps"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass
class Store:
    """The server's address, and the fault that it gives."""

    address: str
    port: int = 0
    fault: int | None = None
    """The HTTP status that every request is answered with, if it is not None."""

    @property
    def endpoint(self) -> str:
        return f"{self.address}:{self.port}"

    def uri(self, prefix: str) -> str:
        options = f"scheme=http&endpoint_override={self.endpoint}&region=us-east-1"
        return f"s3://{BUCKET}/{prefix}?{options}"

    @property
    def client(self) -> Any:
        import boto3

        keys = {name.lower(): KEYS[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        return boto3.client("s3", endpoint_url=f"http://{self.endpoint}", region_name="us-east-1", **keys)

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        found = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return sorted(key for key in found if not key.endswith("/"))


@contextmanager
def serving(address: str = "127.0.0.1") -> Iterator[Store]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    store = Store(address)
    backend: Callable[..., Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        fault = store.fault
        if fault is None:
            return backend(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(f"{fault} Fault", [("Content-Type", "application/xml"), ("Content-Length", "0")])
        return [b""]

    server = make_server(address, 0, answer, threaded=True)
    store.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        urlopen(Request(f"http://{store.endpoint}/moto-api/reset", method="POST")).close()  # it is one for the process
        store.client.create_bucket(Bucket=BUCKET)
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
