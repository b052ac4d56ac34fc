"""Fetch data of the catalogue: downloaded, verified, and put in their place all at once or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workloads.data.archive import contents_digest, file_digest, is_sound, unpack
from workloads.data.catalogue import Download, Entry
from workloads.data.download import Downloader, FetchError, NoRoom, PlaceError, drop, place_error

ROOM_FOR_OTHERS = 1 << 24
"""Bytes that an archive may hold beside twice the files that matter."""
NEWER_FACTOR = 20
"""How many times larger than the pinned version another one may be."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a data set's place."""

    sha256: str
    size: int
    count: int
    pinned: bool
    """Whether it is what the catalogue pins."""


def examine(entry: Entry, root: Path) -> Found | None:
    """Read what lies in the place of `entry` under `root`, and compare it; None where nothing does."""
    pin = download_of(entry)
    path = root / str(entry.place)
    try:
        if not path.exists():
            return None
        if path.is_dir() == (entry.folder is None):
            raise PlaceError(f"{path} is in the way: it is {'no' if entry.folder else 'a'} folder; move it elsewhere")
        return _found(path, pin)
    except OSError as error:
        raise PlaceError(f"{path} cannot be read: {error.strerror or error}") from error


def _found(path: Path, pin: Download) -> Found:
    if not pin.members:
        sha256, size, count = file_digest(path), path.stat().st_size, 1
    else:
        sha256, count = contents_digest(path, pin.members)
        size = sum(file.stat().st_size for pattern in pin.members for file in path.glob(pattern))
    return Found(sha256, size, count, sha256 == pin.sha256)


@dataclass(frozen=True, slots=True)
class Fetch:
    """How one data set is fetched."""

    entry: Entry
    root: Path
    downloader: Downloader = field(default_factory=Downloader)
    any_version: bool = False
    """Take the publisher's newest version, whatever it is."""
    waiting: Callable[[], None] = lambda: None
    """Is called where another process fetches the same data, before waiting for it."""

    @property
    def path(self) -> Path:
        """Return the file or folder in which the data belong."""
        return self.root / str(self.entry.place)

    @property
    def part(self) -> Path:
        """Return the file in which they arrive, beside their place."""
        suffix = ".newer.part" if self.any_version else ".part"
        return self.path.with_name(self.path.name + suffix)

    def run(self, *, force: bool = False) -> bool:
        """Put the data in their place; False where they were there, and are what they should be.

        FetchError, or its kind PlaceError, in one line where that cannot be done. What came so far is kept for the next
        time where that makes sense, also where Ctrl-C ends it.
        """
        if self.any_version and download_of(self.entry).newer is None:
            raise PlaceError(f"{self.entry.name} is known in one version only; leave --any-version out")
        if self._is_here(force):
            return False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with alone(self.path.with_name(f".{self.path.name}.lock"), self.waiting) as waited:
                if self._is_here(force and not waited):
                    return False
                self._fetch(download_of(self.entry))
        except BrokenPipeError:
            raise  # whoever is told has gone
        except OSError as error:
            raise place_error(error, self.path) from error
        return True

    def _is_here(self, force: bool) -> bool:
        """Tell whether there is nothing left to do; PlaceError where something else lies in the place."""
        found = examine(self.entry, self.root)
        if found is None or force:
            return False
        if found.pinned or self.any_version:
            return True
        pin = download_of(self.entry)
        raise PlaceError(
            f"{self.path} is not {self.entry.name} as pinned ({expected_and_found(pin, found)}); "
            f"--force replaces it{', --any-version leaves it' if pin.newer else ''}"
        )

    def _fetch(self, pin: Download) -> None:
        url = pin.url
        size: int | None = pin.size
        limit = pin.size
        if self.any_version and pin.newer:
            url, size, limit = pin.newer, None, NEWER_FACTOR * pin.size
        elif pin.members:
            size, limit = None, 2 * pin.size + ROOM_FOR_OTHERS
        try:
            self.downloader.download(url, self.part, size=size, limit=limit)
        except PlaceError:
            raise
        except FetchError as error:
            raise FetchError(f"{self.entry.name} was not fetched: {error}; {by_hand(self.entry, self.root)}") from error
        if pin.members:
            self._place_folder(pin)
        else:
            self._place_file(pin)

    def _place_file(self, pin: Download) -> None:
        if self.any_version:
            if self.part.suffixes[:1] == [".zip"] and not is_sound(self.part):
                drop(self.part)
                raise FetchError(f"{pin.newer}: what came is no sound zip file; it was removed")
        elif not (found := _found(self.part, pin)).pinned:
            drop(self.part)
            raise FetchError(self._wrong(pin, found))
        self.part.replace(self.path)
        drop(self.part)

    def _place_folder(self, pin: Download) -> None:
        fresh = self.path.with_name(f".{self.path.name}.unpacked")
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(fresh, ignore_errors=True)  # of a fetch that was killed
        try:
            try:
                unpack(self.part, fresh, pin.members, size=pin.size)
                if not (found := _found(fresh, pin)).pinned:
                    raise FetchError(self._wrong(pin, found))
            except (PlaceError, NoRoom):
                raise  # the archive may still be good
            except FetchError:
                drop(self.part)
                raise
            shutil.rmtree(old, ignore_errors=True)
            if self.path.exists():
                self.path.rename(old)
            fresh.rename(self.path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        drop(self.part)

    def _wrong(self, pin: Download, found: Found) -> str:
        newer = f"; --any-version takes what {pin.newer} serves now" if pin.newer else ""
        return f"{pin.url} gives other data ({expected_and_found(pin, found)}); they were removed{newer}"


def download_of(entry: Entry) -> Download:
    """Return where an entry is fetched from; PlaceError where it comes with Python or a package."""
    if entry.download is None or entry.place is None:
        raise PlaceError(f"{entry.name} comes with {entry.package or 'Python'}; there is nothing to fetch")
    return entry.download


def expected_and_found(pin: Download, found: Found) -> str:
    """Return both sides of a comparison that failed, in words."""
    files = f"{pin.count:,} files, " if pin.members else ""
    got = f"{found.count:,} files, " if pin.members else ""
    return (
        f"expected {files}{pin.size:,} bytes, sha256 {pin.sha256}, got {got}{found.size:,} bytes, sha256 {found.sha256}"
    )


def by_hand(entry: Entry, root: Path) -> str:
    """Say how to put data in their place without this program's help."""
    pin, place = download_of(entry), (root / str(entry.place)).absolute()
    if pin.members:
        return f"by hand: unpack {pin.url} so that {place}/{pin.members[-1]} are there"
    return f"by hand: put {pin.url} at {place}"


@contextmanager
def alone(lock: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Keep other processes out by the file `lock`, gone behind it; give whether another had to be waited for."""
    waited = False
    while True:
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    waiting()
                waited = True
                fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it has removed it: then another process may already hold a new one of that name.
            try:
                if not os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                    continue
            except FileNotFoundError:
                continue
            try:
                yield waited
            finally:
                lock.unlink(missing_ok=True)
            return
