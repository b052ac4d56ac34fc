"""The lease: the right to drive a sweep, held by one driver at a time and for no longer than it is renewed."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

from sqlalchemy import ColumnElement, select

from orchestrator.database.connections import database_time
from orchestrator.database.ledger import TAKEN_OVER, Ledger, SweepRow, sweeps
from orchestrator.database.patience import PATIENCE_S, is_away, patiently
from orchestrator.database.processes import lives_here, own_name
from orchestrator.errors import LeaseLost, SweepHeld
from orchestrator.settings import LEASE_S

RENEW_EVERY_S = 2.0
LOOK_EVERY_S = 0.25
"""Between two looks whether another driver gives a sign of life."""
LAID_DOWN = "stopped by `bptt stop`"


class Lease:
    """The right to drive one sweep: held by one driver at a time, and for no longer than it is renewed."""

    def __init__(self, ledger: Ledger, name: str, *, seconds: float = LEASE_S) -> None:
        self.ledger, self.name, self.seconds = ledger, name, seconds
        self.owner = own_name()
        self._renewed = self._renewed_at = 0.0

    def take(self) -> SweepRow:
        """Take the lease if it is free, has run out, or its owner is a process of this machine that is gone.

        An owner elsewhere may have gone with its machine: it is waited for until it renews its lease, or that runs out.
        Returns the sweep as it was then. Raises SweepHeld where another driver holds it, Unreachable where the
        database stays away.
        """
        row = self._wait_for_a_sign(self.ledger.sweep(self.name))
        if row.is_driven:
            host, pid, *_ = (row.owner or "").split(":")
            raise SweepHeld(
                f"{self.name} is being run by process {pid} on {host}; watch it with `bptt status {self.name}`, "
                f"stop it with `bptt stop {self.name}`"
            )
        free = sweeps.c.owner.is_(None) if row.owner is None else sweeps.c.owner == row.owner
        free &= sweeps.c.expires == row.expires  # an owner that has just woken up and renewed it has it still
        values = {"owner": self.owner, "expires": self._end(), "state": "running", "stop_requested": 0, "message": ""}
        taking = sweeps.update().where(sweeps.c.name == self.name, free).values(**values)

        def write() -> int:
            with self.ledger.engine.begin() as connection:
                # Of two drivers that saw the same owner, the database lets one change it.
                return connection.execute(taking).rowcount

        def write_unless_taken() -> int:
            return 1 if self.ledger.sweep(self.name).owner == self.owner else write()

        if patiently(write, again=write_unless_taken) != 1:
            raise SweepHeld(f"{self.name} has just been taken by another driver; see `bptt status {self.name}`")
        self._renewed, self._renewed_at = time.monotonic(), time.time()
        return replace(self.ledger.sweep(self.name), state=row.state, message=row.message)

    def _wait_for_a_sign(self, row: SweepRow) -> SweepRow:
        """Return the sweep once its owner is known to live or its lease to be free."""
        seen = row
        while row.is_driven and row.owner == seen.owner and row.expires == seen.expires and not lives_here(row.owner):
            if row is seen:
                host = (row.owner or "").partition(":")[0]
                sys.stderr.write(
                    f"bptt: {self.name} has a driver on {host}; waiting for a sign of life from it, "
                    f"{row.left_s:.0f} s at most\n"
                )
            time.sleep(LOOK_EVERY_S)
            row = self.ledger.sweep(self.name)
        return row

    def renew(self) -> bool:
        """Extend the lease and count the time used; return whether someone asked the sweep to stop.

        Raises LeaseLost where another driver has it.
        """
        now = time.monotonic()
        mine = (sweeps.c.name == self.name) & (sweeps.c.owner == self.owner)
        used = {"expires": self._end(), "elapsed_s": sweeps.c.elapsed_s + (now - self._renewed)}
        with self.ledger.engine.begin() as connection:
            row = connection.execute(select(sweeps.c.stop_requested).where(mine)).first()
            if row is None:
                raise LeaseLost(TAKEN_OVER.format(self.name))
            connection.execute(sweeps.update().where(mine).values(**used))
        self._renewed, self._renewed_at = now, time.time()
        return bool(row.stop_requested)

    def has_run_out(self) -> bool:
        """Tell whether the lease was last renewed so long ago that another driver may have it."""
        # A machine that is suspended stops the one clock and not the other.
        return max(time.monotonic() - self._renewed, time.time() - self._renewed_at) > self.seconds

    def _end(self) -> ColumnElement[float]:
        return database_time() + self.seconds

    def give_back(self, state: str, message: str) -> None:
        """Leave the sweep in `state`, free for the next driver."""
        mine = (sweeps.c.name == self.name) & (sweeps.c.owner == self.owner)
        used = sweeps.c.elapsed_s + (time.monotonic() - self._renewed)
        values = {"owner": None, "expires": 0.0, "state": state, "message": message, "elapsed_s": used}

        def write() -> None:
            with self.ledger.engine.begin() as connection:
                connection.execute(sweeps.update().where(mine).values(**values))

        patiently(write)


class LeaseKeeper:
    """Renews the lease for as long as the driver lives, and hears there who asks the sweep to stop."""

    def __init__(self, lease: Lease, *, limit_s: float) -> None:
        self.lease = lease
        self.limit_s = limit_s
        """Seconds after which the budget of hours is used up."""
        self._began = time.monotonic()
        self.every_s = min(RENEW_EVERY_S, lease.seconds / 5)
        self.stop_requested = threading.Event()
        self.out_of_time = threading.Event()
        if limit_s <= 0:
            self.out_of_time.set()
        self._done = threading.Event()
        self._lost: LeaseLost | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def prolong(self, seconds: float) -> None:
        """Raise the budget of hours."""
        self.limit_s += seconds
        if time.monotonic() < self._began + self.limit_s:
            self.out_of_time.clear()

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        away_since = 0.0
        while True:
            left = self._began + self.limit_s - time.monotonic()
            if left <= 0:
                self.out_of_time.set()
            if self._done.wait(min(self.every_s, left) if left > 0 else self.every_s):
                return
            try:
                if self.lease.renew():
                    self.stop_requested.set()
            except LeaseLost as error:
                self._lost = error
                return
            except Exception as error:  # noqa: BLE001 - a driver whose lease nobody renews must know it
                # While the database is away nobody else can take the sweep over either.
                away_since = away_since or time.monotonic()
                if not is_away(error) or time.monotonic() - away_since > PATIENCE_S:
                    self._lost = LeaseLost(f"the lease could not be renewed: {error}")
                    return
            else:
                away_since = 0.0

    def check(self) -> None:
        """Raise LeaseLost where the lease is gone: nothing more may be written."""
        if self._lost is not None:
            raise self._lost
        if self.lease.has_run_out():
            # The process slept (a suspended machine, SIGSTOP); what the database says counts, not what it was doing.
            patiently(self.lease.renew)


def lay_down(ledger: Ledger, row: SweepRow) -> bool:
    """Stop a sweep whose driver is gone, so that nobody takes it up by himself; return whether there was need to.

    Raises SweepHeld where a driver has come back or taken it up.
    """
    if row.state not in ("running", "interrupted") or (row.state, row.message) == ("interrupted", LAID_DOWN):
        return False
    lease = Lease(ledger, row.name)
    lease.take()
    lease.give_back("interrupted", LAID_DOWN)
    return row.state == "running"
