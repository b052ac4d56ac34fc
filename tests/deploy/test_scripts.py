"""The scripts that stand in manifests, run as they stand there on a real PostgreSQL and a real S3 server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from tests import postgres, s3
from tests.deploy.rendered import named, render
from tests.postgres import PostgresServer

pytestmark = pytest.mark.slow  # MLflow makes its tables in ten seconds

PASSWORDS = {"sweeps": "it's $1", "mlflow": 'a"b', "mlflow_auth": "p%40ss"}
LOCAL = "overlays/local"


def run(container: Mapping[str, Any], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what a container runs, with its variables; the image's own entry point ends in the same."""
    command: Sequence[str] = [*container.get("command", ()), *container.get("args", ())]
    assert command[0] == "python"
    named_there = {each["name"] for each in container["env"]}
    assert set(environ) <= named_there, "the script is given what the manifest gives it"
    # Nothing of this machine's but where Python finds its packages.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "OMP_NUM_THREADS") if name in os.environ}
    return subprocess.run(
        [sys.executable, *command[1:]],
        env={**kept, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def container(kind: str, name: str, place: str = "containers") -> Any:
    return named(render(LOCAL), kind, name)["spec"]["template"]["spec"][place][0]


@pytest.fixture(scope="module")
def urls(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the URLs of the databases that the init script makes."""
    if shutil.which("psql") is None:
        pytest.skip("psql is not here")
    script = tmp_path_factory.mktemp("init") / "databases.sh"
    script.write_text(named(render(LOCAL), "ConfigMap", "postgres-init")["data"]["databases.sh"])
    script.chmod(0o555)
    environ = {
        "PATH": os.environ["PATH"],
        "POSTGRES_USER": postgres.USER,
        "PGDATABASE": "postgres",
        "PGHOST": postgres_server.address,
        "PGPORT": str(postgres_server.port),
        "PGPASSWORD": postgres.PASSWORD,
        **{f"{name.upper()}_PASSWORD": password for name, password in PASSWORDS.items()},
    }
    subprocess.run([script], env=environ, check=True, timeout=60)
    place = f"{postgres_server.address}:{postgres_server.port}"
    return {
        name: f"postgresql+psycopg://{name}:{quote(password, safe='')}@{place}/{name}"
        for name, password in PASSWORDS.items()
    }


def test_each_role_has_a_database_of_its_own_and_no_other(urls: dict[str, str]) -> None:
    for name, url in urls.items():
        plain = url.replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute("CREATE TABLE tried (number int)")
            connection.execute("DROP TABLE tried")
        for other in set(urls) - {name}:
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(plain.rpartition("/")[0] + f"/{other}").close()


def test_the_migration_makes_the_tables_that_servers_wait_for(urls: dict[str, str]) -> None:
    environ = {"RUNS_URL": urls["mlflow"], "USERS_URL": urls["mlflow_auth"]}
    migrate, wait = container("Job", "mlflow-migrate"), container("Deployment", "mlflow", "initContainers")
    for _ in range(2):
        done = run(migrate, environ)
        assert done.returncode == 0, done.stderr[-2000:]
    assert PASSWORDS["mlflow"] not in done.stdout + done.stderr
    waited = run(wait, environ)
    assert (waited.returncode, waited.stdout) == (0, ""), waited.stderr[-2000:]


def test_the_bucket_is_made_once() -> None:
    script = container("Job", "bucket")
    with s3.serving() as store:
        environ = {"ENDPOINT": f"http://{store.endpoint}", "BUCKET": "runs-and-checkpoints"}
        keys = {name: s3.KEYS[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        for _ in range(2):
            done = run(script, environ | keys)
            assert done.returncode == 0, done.stderr[-2000:]
        there = [each["Name"] for each in store.client.list_buckets()["Buckets"]]
    assert "runs-and-checkpoints" in there
