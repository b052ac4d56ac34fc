"""A real PostgreSQL server of the tests' own: no port or folder of the machine's is touched."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

USER, PASSWORD = "bptt", "p@ss/w%40:r+d"
NEEDED = ("initdb", "pg_ctl", "postgres")
SETTINGS = "\nfsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 300\n"


def is_installed() -> bool:
    return all(shutil.which(program) for program in NEEDED)


class PostgresServer:
    """Started with the first test that asks for it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self._databases = 0
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = probe.getsockname()[1]

    def _run(self, *command: str) -> None:
        options: dict[str, Any] = {"cwd": self.folder, "check": True, "stdout": subprocess.DEVNULL}
        if os.getuid() == 0:  # which postgres refuses to run as
            owner = unprivileged()
            options |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        with (self.folder / "errors").open("a") as errors:
            subprocess.run(command, stderr=errors, timeout=60, **options)

    def make(self) -> None:
        if os.getuid() == 0:
            owner = unprivileged()
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile=password", "--no-sync")
        with (self.folder / "data/postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        with (self.folder / "data/pg_hba.conf").open("a") as access:
            access.write("host all all samenet scram-sha-256\n")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -h {self.address} -k {self.folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "server.log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def restart(self) -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-m", "fast", "-l", "server.log", "restart")

    def url(self, database: str = "postgres", *, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://{USER}:{quote(password, safe='')}@{self.address}:{self.port}/{database}"

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg

        place = {"host": self.address, "port": self.port, "user": USER, "password": PASSWORD, "dbname": "postgres"}
        with psycopg.connect(**place, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """Return the URL of a database that nobody has used."""
        self._databases += 1
        name = f"test{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


def unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("there is no user that postgres could run as")


@contextmanager
def serving(address: str = "127.0.0.1") -> Iterator[PostgresServer]:
    # The path of a socket may not be long, and the folders of pytest are shut to others.
    folder = Path(tempfile.mkdtemp(prefix="bptt-pg-", dir="/tmp"))
    server = PostgresServer(folder, address)
    try:
        server.make()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
