"""A real web server in a thread, which answers as a test says, request by request, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Site(ThreadingHTTPServer):
    """Gives its answers in turn, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [status(404)]
        self.ranges: list[str | None] = []
        """What was asked for, request by request: the Range, or None for the whole."""
        self.conditions: list[str | None] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the site's next answer."""

    server: Site

    def do_GET(self) -> None:
        self.close_connection = True
        turn = len(self.server.ranges)
        self.server.ranges.append(self.headers.get("Range"))
        self.server.conditions.append(self.headers.get("If-Range"))
        self.server.answers[min(turn, len(self.server.answers) - 1)](self)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def start(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        site.shutdown()
        thread.join()
        site.server_close()


def whole(content: bytes, *, tag: str = '"one"', breaks_after: int | None = None) -> Answer:
    """A good server's answer, to a Range as well; broken off after so many bytes where that is said."""

    def answer(handler: Handler) -> None:
        wanted, first = handler.headers.get("Range"), 0
        if wanted and handler.headers.get("If-Range") == tag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            described = f"bytes {first}-{len(content) - 1}/{len(content)}"
            handler.start(206, Content_Length=len(content) - first, Content_Range=described, ETag=tag)
        else:
            handler.start(200, Content_Length=len(content), ETag=tag)
        handler.wfile.write(content[first : None if breaks_after is None else first + breaks_after])

    return answer


def plain(content: bytes, **headers: object) -> Answer:
    """The content under these headers, whatever was asked for."""

    def answer(handler: Handler) -> None:
        handler.start(200, **headers)
        handler.wfile.write(content)

    return answer


def part(content: bytes, described: str, **headers: object) -> Answer:
    """A 206 that describes itself as it likes."""

    def answer(handler: Handler) -> None:
        handler.start(206, Content_Range=described, Content_Length=len(content), **headers)
        handler.wfile.write(content)

    return answer


def status(code: int, **headers: object) -> Answer:
    return lambda handler: handler.start(code, Content_Length=0, **headers)


def silence(handler: Handler) -> None:
    """No answer until the test is over."""
    handler.server.closing.wait(30)


def half_then_silence(content: bytes) -> Answer:
    """The first half, and nothing more until the test is over."""

    def answer(handler: Handler) -> None:
        handler.start(200, Content_Length=len(content), ETag='"one"')
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
        silence(handler)

    return answer
