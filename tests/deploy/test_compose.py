"""The compose file and its secrets: shut to other machines, hardened, and whole."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from orchestrator import __version__
from tests import postgres
from tests.postgres import PostgresServer

FOLDER = Path(__file__).parents[2] / "deploy/compose"
DATABASES = "../../k8s/components/postgres/databases.sh"
ENTRY_POINT = """
set -Eeo pipefail
before= before="$(compgen -v; set +o; shopt)"
. "$1"
[ "$before" = "$(compgen -v; set +o; shopt)" ] && echo "as before, $never_set"
"""
"""What PostgreSQL's image does with a script that may not be executed, as a file of a checkout is; and a look round."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make secrets beside a copy of the script."""
    folder = tmp_path_factory.mktemp("compose")
    script = folder / "secrets.sh"
    script.write_text((FOLDER / "secrets.sh").read_text())
    subprocess.run(["sh", script], check=True, capture_output=True)
    return folder / "secrets"


def variables(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def test_every_port_is_open_to_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:5432:5432", "127.0.0.1:8265:8265"]
    assert not [service for service in compose["services"].values() if "network_mode" in service]


def test_every_service_runs_without_root_and_without_rights(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["image"].startswith("bptt-") or not service["user"].startswith("0"), name
        assert not {"privileged", "cap_add", "devices"} & set(service), name


def test_images_are_pinned_and_ours_are_of_this_version(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        image, _, tag = service["image"].rpartition(":")
        if image.startswith("bptt-"):
            assert tag == __version__, name
        else:
            assert tag[0].isdigit(), name
            assert "." in tag, name


def test_what_services_refer_to_is_there(compose: dict[str, Any], secrets: Path) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        for file in service.get("env_file", []):
            assert (secrets.parent / file).is_file(), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (FOLDER / source).is_file(), name
        build = service.get("build")
        assert build is None or (FOLDER / build["context"] / build["dockerfile"]).is_file(), name
        # A service whose health is waited for has a check: its own, or that of its image.
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                checked = services[other].get("healthcheck", {})
                assert "test" in checked or (not checked and services[other]["image"].startswith("bptt-")), other


def test_nodes_that_train_know_no_database(compose: dict[str, Any], secrets: Path) -> None:
    files = compose["services"]["ray-worker"]["env_file"]
    known = {name for file in files for name in variables(secrets.parent / file)}
    assert known == {"RAY_AUTH_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_no_secret_is_written_in_the_compose_file(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable in service.get("environment", {}):
            assert not any(word in variable for word in ("PASSWORD", "TOKEN", "SECRET", "ACCESS_KEY")), name


def test_secrets_are_for_the_owner_alone_and_made_once(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    made = {file.name: file.read_text() for file in secrets.iterdir()}
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()} == {0o600}
    again = subprocess.run(["sh", secrets.parent / "secrets.sh"], capture_output=True, text=True, check=True)
    assert "stays as it is" in again.stdout
    assert made == {file.name: file.read_text() for file in secrets.iterdir()}
    assert sorted(path.name for path in secrets.parent.iterdir()) == ["secrets", "secrets.sh"]


def test_two_machines_have_no_secret_in_common(secrets: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets.sh").write_text((FOLDER / "secrets.sh").read_text())
    subprocess.run(["sh", tmp_path / "secrets.sh"], check=True, capture_output=True)
    for file in secrets.iterdir():
        here, there = variables(file), variables(tmp_path / "secrets" / file.name)
        secret = {name for name in here if "PASSWORD" in name or "KEY" in name or "TOKEN" in name or "@" in here[name]}
        assert secret
        assert not [name for name in secret if here[name] == there[name]]


def test_secrets_agree_with_each_other(secrets: Path) -> None:
    database = variables(secrets / "postgres.env")
    mlflow, driver = variables(secrets / "mlflow.env"), variables(secrets / "driver.env")
    urls = [driver["BPTT_STUDY_URL"], mlflow["MLFLOW_BACKEND_STORE_URI"], mlflow["MLFLOW_AUTH_DATABASE_URI"]]
    for role, url in zip(("sweeps", "mlflow", "mlflow_auth"), urls, strict=True):
        parts = urlsplit(url)
        assert (parts.username, parts.path) == (role, f"/{role}")
        assert parts.password == database[f"{role.upper()}_PASSWORD"]
    assert driver["MLFLOW_TRACKING_PASSWORD"] == mlflow["MLFLOW_AUTH_ADMIN_PASSWORD"]
    terminal = variables(secrets / "terminal.env")
    assert terminal["RAY_AUTH_TOKEN"] == variables(secrets / "ray.env")["RAY_AUTH_TOKEN"]
    assert terminal["BPTT_STUDY_URL"] == driver["BPTT_STUDY_URL"].replace("@postgres:", "@127.0.0.1:")


def enter_by_image(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", ENTRY_POINT, "entry point", str((FOLDER / DATABASES).resolve())]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_an_image_whose_databases_cannot_be_made_does_not_go_on(secrets: Path) -> None:
    whole = {"PATH": os.environ["PATH"], "POSTGRES_USER": postgres.USER, **variables(secrets / "postgres.env")}
    nowhere = enter_by_image({**whole, "PGHOST": "127.0.0.1", "PGPORT": "1"})
    assert (nowhere.returncode == 0, nowhere.stdout) == (False, "")
    del whole["SWEEPS_PASSWORD"]
    assert "SWEEPS_PASSWORD is not set" in enter_by_image(whole).stderr


def test_each_role_enters_its_own_database_alone(postgres_server: PostgresServer, secrets: Path) -> None:
    if not postgres.is_installed():
        pytest.skip("PostgreSQL's server is not installed")
    passwords = variables(secrets / "postgres.env")
    place = {"PGHOST": postgres_server.address, "PGPORT": str(postgres_server.port), "PGPASSWORD": postgres.PASSWORD}
    environ = {"PATH": os.environ["PATH"], **place, **passwords, "POSTGRES_USER": postgres.USER}
    entered = enter_by_image({**environ, "PGDATABASE": "postgres"})
    assert (entered.returncode, entered.stdout.splitlines()[-1]) == (0, "as before, "), entered.stderr

    def enter(role: str, database: str) -> None:
        user, password = role, passwords[f"{role.upper()}_PASSWORD"]
        place = f"host={postgres_server.address} port={postgres_server.port} dbname={database}"
        with psycopg.connect(place, user=user, password=password) as connection:
            connection.execute("CREATE TABLE mine (x int)")

    for role in ("sweeps", "mlflow", "mlflow_auth"):
        enter(role, role)
        for other in {"sweeps", "mlflow", "mlflow_auth"} - {role}:
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                enter(role, other)
