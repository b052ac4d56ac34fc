"""Secrets: shown by nothing, however a message holds them."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import secrets
from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
from orchestrator.errors import UserError, masked
from orchestrator.settings import Settings
from orchestrator.trial import Failure, TrialState
from tests.fakes import KIND
from tests.postgres import PASSWORD, PostgresServer

MLFLOW, KEY_ID, KEY, TOKEN = "m@l/f%40:l+ow pass", "AKIA+ODD/ID:1", "aws/sec+ret%2Fk@y", "ray:t/o+k@en%40x"
PLANTED = {
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": MLFLOW,
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": KEY,
    "RAY_AUTH_TOKEN": TOKEN,
}


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    known = set(secrets._known)
    yield
    secrets._known.clear()
    secrets._known.update(known)


def shapes(secret: str) -> set[str]:
    """Return a secret in the forms in which it must not appear; made apart from those that the code knows."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), encoded}


def assert_no_secret(text: str, where: str) -> None:
    for secret in (PASSWORD, MLFLOW, KEY_ID, KEY, TOKEN):
        for shape in shapes(secret):
            assert shape not in text, f"{shape!r} is in {where}"


@pytest.mark.parametrize("variable", [name for name in PLANTED if name != "MLFLOW_TRACKING_USERNAME"])
def test_a_secret_of_the_environment_is_masked_in_every_form(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, PLANTED[variable])
    for shape in shapes(PLANTED[variable]):
        assert masked(f"before {shape} behind") == "before *** behind"


@given(st.text(st.sampled_from("abcXYZ012@/:+%=&?#"), min_size=6))
def test_a_password_of_a_url_is_masked_wherever_it_appears_again(password: str) -> None:
    url = f"postgresql://me:{quote(password, safe='')}@host/db"
    Settings.load({"study_url": url}, environ={})
    for text in (url, f"cannot log in with '{password}'", quote(password, safe="").lower()):
        assert password not in masked(text).replace("***", "")
        assert quote(password, safe="") not in masked(text)


@pytest.mark.parametrize("short", ["me", "test"])
def test_a_secret_too_short_to_be_one_takes_no_words_out(short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", short)
    assert masked("test was named") == "test was named"


def test_the_keys_of_an_object_store_are_not_shown() -> None:
    assert masked("s3://AKIAX:se/cret@bucket/x is away") == "s3://***@bucket/x is away"


def test_settings_and_failures_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    database = f"postgresql://me:{quote(PASSWORD, safe='')}@host/db"
    store = f"s3://{quote(KEY_ID, safe='')}:{quote(KEY, safe='')}@bucket/x"
    settings = Settings.load({"study_url": database, "checkpoints": store}, environ={})
    failure = Failure(TrialState.FAILED, f"{store}: {KEY}", f"Traceback: {PASSWORD}\n{MLFLOW}")
    assert_no_secret(f"{settings!r} {settings} {failure!r}", "what is shown")
    assert settings.study_url == database  # but it is there
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_password_cut_at_its_at_sign_is_not_told_in_parts(postgres_server: PostgresServer) -> None:
    url = f"postgresql+psycopg://me:first@second@127.0.0.1:{postgres_server.port}/x"
    with pytest.raises(UserError, match="an @ in its password is written %40") as caught:
        Ledger(url)
    assert "second" not in str(caught.value)


SPEC = """
name: planted
workload: {{kind: "{kind}", pause_s: 0.02}}
space: {{quality: {{float: [0.1, 1.0]}}, fate: [none, raise]}}
budget: {{trials: 4, sequence_steps: 3000, evaluations: 3}}
search: {{sampler: random, pruner: none, seed: 3}}
"""


def bptt(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its status, all it said, and the titles of all processes while it ran."""
    path = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
    whole = {**os.environ, **PLANTED, **environment, "PYTHONPATH": path, "BPTT_DEBUG": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        env=whole,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    titles = ""
    while True:
        try:
            said, _ = process.communicate(timeout=1)
            return process.returncode, said, titles
        except subprocess.TimeoutExpired:
            titles += subprocess.run(["ps", "-efww"], capture_output=True, text=True, check=True).stdout


def dump(server: PostgresServer, url: str) -> str:
    from sqlalchemy import MetaData, create_engine, select

    engine, found = create_engine(url), MetaData()
    found.reflect(engine)
    with engine.connect() as connection:
        return repr([connection.execute(select(table)).all() for table in found.sorted_tables])


@pytest.mark.slow
def test_no_secret_is_left_anywhere_by_a_sweep(postgres_server: PostgresServer, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SPEC.format(kind=KIND))
    study, tracking = postgres_server.new_database(), postgres_server.new_database()
    well = {"BPTT_STUDY_URL": study, "BPTT_TRACKING_URI": tracking}
    store = f"s3://{quote(KEY_ID, safe='')}:{quote(KEY, safe='')}@bucket/x?endpoint_override=127.0.0.1:1&scheme=http"
    wrong = postgres_server.url("nowhere", password="wro/ng@" + PASSWORD)
    runs = {
        "well": (well, 0, ["run", "sweep.yaml", "--in-process"]),
        "report": (well, 0, ["report", "planted"]),
        "refused database": ({**well, "BPTT_STUDY_URL": wrong}, 2, ["run", "sweep.yaml", "--in-process"]),
        "doctor": ({**well, "BPTT_STUDY_URL": wrong, "BPTT_CHECKPOINTS": store}, 1, ["doctor"]),
    }
    for name, (environment, status, arguments) in runs.items():
        code, said, titles = bptt(tmp_path, environment, *arguments)
        assert_no_secret(said, f"what was said: {name}")
        assert_no_secret(titles, f"process titles: {name}")
        assert "wro/ng" not in said
        assert code == status, said
    for url in (study, tracking):
        assert_no_secret(dump(postgres_server, url), "the database")
    _, trials = read_sweep(Ledger(study), "planted")
    assert {trial.state for trial in trials} >= {TrialState.FAILED}  # so that tracebacks are among what was looked at
    for file in tmp_path.rglob("*"):
        # A model carries its workload's code, here that of these tests, in which the passwords stand.
        if file.is_file() and "code/tests" not in file.as_posix():
            assert_no_secret(file.read_bytes().decode("latin-1"), str(file))
