"""Download one file over HTTP: resumed where it was broken off, tried again where that may help, and never trusted.

What came so far lies in a part file, and beside it what the server calls that version. To go on is to ask for the rest
of that version (RFC 9110, Range and If-Range); a server that answers with another one, or with the whole, begins anew.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

AGENT = "bptt (fetches data sets)"  # some sites refuse clients that say they are Python's urllib
CHUNK = 1 << 16
LABEL_BYTES = 1 << 14
MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may better."""
NO_SUCH_RANGE = 416
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FetchError(Exception):
    """Data could not be fetched; the message is one line."""


class PlaceError(FetchError):
    """Data cannot be put where they belong, or something else lies there: the user's to mend."""


class NoRoom(FetchError):
    """The disk is full."""


class Broken(Exception):
    """This try failed; the next one may not."""


Told = Callable[[int, int | None], None]
"""Is told the bytes that are here, and how many there will be, where that is known."""


@dataclass(frozen=True, slots=True)
class Downloader:
    """How downloads are made."""

    told: Told = lambda done, total: None
    timeout_s: float = 30.0
    """For the connection, and for every wait for further bytes."""
    tries: int = 5
    wait_s: float = 1.0
    """Before the second try; twice as long before each further one."""

    def download(self, url: str, part: Path, *, size: int | None, limit: int) -> None:
        """Bring `part` to hold what `url` gives: `size` bytes where that is known, else at most `limit`.

        FetchError where that cannot be done; what came stays in `part` if the next call can go on from there.
        """
        transfer, wait_s = Transfer(url, part, size, limit, self), self.wait_s
        for attempt in range(1, self.tries + 1):
            try:
                transfer.run()
                return
            except Broken as error:
                if attempt == self.tries:
                    raise FetchError(f"{url}: {error} (tried {self.tries} times)") from error
                time.sleep(wait_s)
                wait_s *= 2


@dataclass(frozen=True, slots=True)
class Transfer:
    """The way of one file from its address to its part file."""

    url: str
    part: Path
    size: int | None
    limit: int
    by: Downloader

    def run(self) -> None:
        """Go on from the part file, or begin it; Broken where another try may help, FetchError where not."""
        kept = self._kept()
        have = int(kept.get("have", 0))
        if kept.get("complete") and self.size in (None, have):
            return  # a process before this one was stopped, or lacked room, behind the download
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": str(kept["version"])}
        with self._open(headers) as response:
            if response.status == http.HTTPStatus.PARTIAL_CONTENT and have:
                total = self._total_of_rest(response, kept)
            elif response.status == http.HTTPStatus.OK:
                have, length = 0, response.headers.get("Content-Length", "")
                total = int(length) if length.isdecimal() else None
                drop(self.part)
            else:
                raise FetchError(f"{self.url}: the server answers {response.status}, which was not asked for")
            self._check_announced(total)
            self._take(response, have, total)

    def _kept(self) -> dict[str, Any]:
        """Return how much of which version is here; nothing where it cannot be gone on with."""
        try:
            with label_of(self.part).open("rb") as file:
                label = json.loads(file.read(LABEL_BYTES))
            have = self.part.stat().st_size
        except (OSError, ValueError):
            return {}
        if not isinstance(label, dict) or label.get("url") != self.url or have > (self.size or self.limit):
            return {}
        return {**label, "have": have} if label.get("version") or label.get("complete") else {}

    def _open(self, headers: dict[str, str]) -> Any:
        try:
            return opener().open(urllib.request.Request(self.url, headers=headers), timeout=self.by.timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            says = f"the server answers {error.code} {one_line(error.reason)}"
            if error.code == NO_SUCH_RANGE:
                drop(self.part)
            if error.code in MAY_PASS or error.code == NO_SUCH_RANGE:
                raise Broken(says) from error
            raise FetchError(f"{self.url}: {says}") from error
        except urllib.error.URLError as error:
            raise self._failure(error.reason) from error
        except http.client.InvalidURL as error:
            raise FetchError(f"{self.url}: {one_line(error)}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error
        except ValueError as error:  # an address that is none, here or in a redirection
            raise FetchError(f"{self.url}: {one_line(error)}") from error

    def _failure(self, cause: object) -> Exception:
        if isinstance(cause, socket.gaierror):
            return FetchError(f"{urlsplit(self.url).hostname} cannot be found (is this machine offline?)")
        if isinstance(cause, ssl.SSLCertVerificationError) or not isinstance(
            cause, OSError | http.client.HTTPException
        ):
            return FetchError(f"{self.url}: {one_line(cause)}")
        if isinstance(cause, TimeoutError):
            return Broken(f"the server is silent for {self.by.timeout_s:g} s")
        return Broken(one_line(cause) or type(cause).__name__)

    def _total_of_rest(self, response: Any, kept: dict[str, Any]) -> int | None:
        """Return the size of the whole that a 206 completes; Broken where it is not the rest of what is here."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        now = version_of(response)
        same = not now or now == kept["version"]
        if found is None or int(found[1]) != kept["have"] or not same:
            drop(self.part)
            raise Broken("the server answers with another part than was asked for")
        total = None if found[2] == "*" else int(found[2])
        if total is not None and kept.get("total") not in (None, total):
            drop(self.part)
            raise Broken("the file changed on the server")
        return total

    def _check_announced(self, total: int | None) -> None:
        if total is None:
            return
        if self.size is not None and total != self.size:
            drop(self.part)
            raise FetchError(f"{self.url}: the server announces {total:,} bytes where {self.size:,} are expected")
        if total > self.limit:
            raise FetchError(f"{self.url}: the server announces {total:,} bytes, more than the {self.limit:,} allowed")

    def _take(self, response: Any, have: int, total: int | None) -> None:
        """Write what comes behind the `have` bytes that are here; Broken where it ends too early."""
        expected = total if self.size is None else self.size
        label = {"url": self.url, "version": version_of(response), "total": total}
        if not have:
            self._label(label)
        try:
            with self.part.open("ab") as file:
                self.by.told(have, expected)
                while chunk := self._read(response):
                    have += len(chunk)
                    if have > (self.size or self.limit):
                        drop(self.part)
                        raise FetchError(f"{self.url}: more comes than the {self.size or self.limit:,} bytes expected")
                    file.write(chunk)
                    self.by.told(have, expected)
                file.flush()
                os.fsync(file.fileno())
        except BrokenPipeError:
            raise  # whoever is told has gone
        except OSError as error:
            raise place_error(error, self.part) from error
        if expected is not None and have < expected:
            raise Broken(f"broken off after {have:,} of {expected:,} bytes")
        self._label({**label, "complete": True})

    def _label(self, label: dict[str, Any]) -> None:
        try:
            label_of(self.part).write_text(json.dumps(label), encoding="utf-8")
        except OSError as error:
            raise place_error(error, self.part) from error

    def _read(self, response: Any) -> bytes:
        try:
            chunk: bytes = response.read1(CHUNK)
            return chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error


def opener() -> urllib.request.OpenerDirector:
    """Return what opens web addresses and nothing else, neither here nor behind a redirection.

    Proxies are those of the environment. What opens files, FTP and data addresses in urllib is left out.
    """
    made = urllib.request.OpenerDirector()
    for kind in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        made.add_handler(kind())
    return made


def label_of(part: Path) -> Path:
    """Return the file that says which version a part file is of."""
    return part.with_name(part.name + ".json")


def drop(part: Path) -> None:
    """Remove a part file, and what is known of it."""
    try:
        part.unlink(missing_ok=True)
        label_of(part).unlink(missing_ok=True)
    except OSError as error:
        raise place_error(error, part) from error


def version_of(response: Any) -> str:
    """Return what names this version of the file, fit for If-Range: not a weak ETag, which promises no equal bytes."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def place_error(error: OSError, path: Path) -> FetchError:
    """Return what to say where something cannot be written."""
    says = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return NoRoom(f"{path}: {says}; make room, the next fetch goes on from what is here")
    return PlaceError(f"{path} cannot be written: {says}; set BPTT_DATA to a folder of yours")


def one_line(said: object) -> str:
    """Return what an error or a server says, fit for one line."""
    return " ".join(str(said).split())[:200]
