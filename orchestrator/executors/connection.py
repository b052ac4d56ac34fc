"""A connection to Ray that is made behind the caller's back, so that a driver can prepare its data meanwhile."""

from __future__ import annotations

import threading

from orchestrator.executors.cluster import connect


class Connection:
    """Reaches the Ray cluster at an address, or starts Ray here, and lets go of it again; once.

    All of it is done by one thread, which lives for as long as the connection: the system ends what Ray starts here
    with the thread that started it.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._error: BaseException | None = None
        self._wanted, self._made, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, name="ray", daemon=True)
        self._wait_s: float | None = None

    def begin(self, within_s: float = 0.0) -> None:
        """Have the connection made, in so many seconds or now. Returns at once, whatever comes of it."""
        if self._wait_s is None:
            self._wait_s = within_s
            self._thread.start()
        if not within_s:
            self._wanted.set()

    def make(self) -> None:
        """Return once the connection is made; BpttError where that cannot be."""
        self.begin()
        self._made.wait()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Let go of Ray, and end it where it was started here."""
        self._over.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_made(self) -> bool:
        """Tell whether Ray can be spoken to."""
        return self._made.is_set() and self._error is None and not self._over.is_set()

    def _hold(self) -> None:
        self._wanted.wait(self._wait_s)
        try:
            if self._over.is_set():
                return
            connect(self._address)
        except BaseException as error:  # noqa: BLE001 - it is told to whoever needs the connection
            self._error = error
            return
        finally:
            self._made.set()
        self._over.wait()
        import ray

        ray.shutdown()
