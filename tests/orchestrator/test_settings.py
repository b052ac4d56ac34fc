"""Settings: from flags, variables, and files that hold secrets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.settings import Settings

URL = "postgresql://me:geheim@db/sweeps"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"  {URL}\n")
    return path


def test_every_setting_can_stand_in_a_file(secret: Path, tmp_path: Path) -> None:
    assert Settings.load(environ={"BPTT_STUDY_URL_FILE": str(secret)}).study_url == URL
    written = {"runs": str(tmp_path), "memory_gb": "3.5", "keep": "all", "tracking_uri": "none"}
    environ = {}
    for name in Settings.model_fields:
        if name in written:
            (tmp_path / name).write_text(written[name] + "\n")
            environ[f"BPTT_{name.upper()}_FILE"] = str(tmp_path / name)
    settings = Settings.load(environ=environ)
    assert (settings.runs, settings.memory_gb, settings.keep) == (tmp_path, 3.5, "all")
    assert settings.tracking_uri == "none"


def test_a_flag_goes_before_a_file(secret: Path) -> None:
    assert (
        Settings.load({"study_url": "sqlite://"}, environ={"BPTT_STUDY_URL_FILE": str(secret)}).study_url == "sqlite://"
    )


def test_a_variable_and_a_file_that_differ_are_refused(secret: Path) -> None:
    environ = {"BPTT_STUDY_URL": "sqlite://", "BPTT_STUDY_URL_FILE": str(secret)}
    with pytest.raises(UserError, match="BPTT_STUDY_URL and BPTT_STUDY_URL_FILE are both given") as caught:
        Settings.load(environ=environ)
    assert "geheim" not in str(caught.value)


def test_a_file_that_cannot_be_read_or_is_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, why in [
        ("none", "cannot be read: No such file"),
        ("empty", "is empty"),
        ("binary", "cannot be read: it is not UTF-8"),
    ]:
        with pytest.raises(UserError, match=f"BPTT_CHECKPOINTS_FILE: .*{name} ?{why}"):
            Settings.load(environ={"BPTT_CHECKPOINTS_FILE": str(tmp_path / name)})


def test_what_is_wrong_in_a_file_is_said_without_showing_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("geheim")
    with pytest.raises(UserError, match=r"BPTT_MEMORY_GB_FILE: .*file: Input should be a valid number") as caught:
        Settings.load(environ={"BPTT_MEMORY_GB_FILE": str(tmp_path / "file")})
    assert "geheim" not in str(caught.value)
    with pytest.raises(UserError, match="BPTT_KEEP: 'some': Input should be 'best' or 'all'"):
        Settings.load(environ={"BPTT_KEEP": "some"})


def test_the_password_of_mlflow_can_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("geheim\n")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(tmp_path / "password"))
    Settings.load()
    Settings.load()  # what it set itself is no contradiction
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "geheim"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
    with pytest.raises(UserError, match="are both given"):
        Settings.load()
