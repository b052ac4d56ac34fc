"""The checks behind `bptt doctor`: they see what is wrong, say what to do, and leave nothing behind."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.doctor import FAILURE, OK, WARNING, Finding
from orchestrator.settings import Settings
from workloads.data.catalogue import ENTRIES
from workloads.models.cells import compiled


def settings(folder: Path, **changes: str) -> Settings:
    return Settings.load({"runs": folder / "runs", **changes}, environ={})


def only(findings: Iterator[Finding]) -> Finding:
    found = list(findings)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "study.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE numbers (x)")
    connection.commit()
    connection.close()
    return file


@pytest.fixture
def server() -> Iterator[tuple[HTTPServer, str]]:
    """A server that answers with the status that its attribute `status` says."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.status if self.path == "/health" else 404)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield listening, f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_looking_at_a_new_place_makes_nothing_there(tmp_path: Path) -> None:
    for check in (doctor.check_study, doctor.check_tracking, doctor.check_checkpoints):
        finding = only(check(settings(tmp_path)))
        assert finding.state == OK
        assert "will be made on the first run" in finding.message
    assert all(finding.state == OK for finding in doctor.check_disk(settings(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, where a folder should be")
    for check in (doctor.check_study, doctor.check_tracking, doctor.check_checkpoints):
        finding = only(check(settings(tmp_path)))
        assert finding.state == FAILURE
        assert finding.advice


def test_a_database_is_written_to_and_left_as_it_was(database: Path) -> None:
    before = database.read_bytes()
    assert doctor.check_sqlite("sweeps", database).state == OK
    assert database.read_bytes() == before


def test_a_database_that_another_process_writes_is_a_warning(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWER_S", 0.1)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    finding = doctor.check_sqlite("sweeps", database)
    other.close()
    assert finding.state == WARNING
    assert "another process" in finding.message


def test_a_file_that_is_no_database_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("certainly not a database, and long enough to be read as one" * 20)
    finding = doctor.check_sqlite("sweeps", tmp_path / "study.db")
    assert finding.state == FAILURE
    assert "damaged" in finding.message


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("/dev/vda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n", "nfs4"),
        ("server:/ / nfs rw 0 0\n/dev/vda /home ext4 rw 0 0\n", ""),
        ("/dev/vda /home ext4 rw 0 0\nserver:/home /home nfs rw 0 0\n", "nfs"),
        ("/dev/vda / ext4 rw 0 0\nserver:/h /home/my\\040runs cifs rw 0 0\n", "cifs"),
        ("/dev/vda / ext4 rw 0 0\nserver:/h /home/my nfs rw 0 0\n", ""),
    ],
)
def test_the_nearest_mount_says_whether_a_file_lies_on_the_network(mounts: str, kind: str, tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(mounts)
    assert doctor.network_file_system(Path("/home/my runs/study.db"), table) == kind


def test_sqlite_on_a_network_file_system_is_warned_of_loudly(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "network_file_system", lambda file: "nfs4")
    warning, opened = doctor.check_database("sweeps", f"sqlite:///{database}", "BPTT_STUDY_URL")
    assert warning.state == WARNING
    assert "LOSES AND CORRUPTS DATA" in warning.message
    assert "BPTT_STUDY_URL" in warning.advice
    assert opened.state == OK


@pytest.mark.parametrize("url", ["not a url", "postgresql://user:secret@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_reached_is_a_failure_without_its_password(url: str) -> None:
    finding = only(iter(doctor.check_database("sweeps", url, "BPTT_STUDY_URL")))
    assert finding.state == FAILURE
    assert "BPTT_STUDY_URL" in finding.advice
    assert "secret" not in finding.message


@pytest.mark.parametrize(("status", "state"), [(200, OK), (401, WARNING), (500, FAILURE)])
def test_a_tracking_server_is_judged_by_its_answer(
    status: int, state: str, server: tuple[HTTPServer, str], tmp_path: Path
) -> None:
    listening, url = server
    listening.status = status  # type: ignore[attr-defined]
    assert only(doctor.check_tracking(settings(tmp_path, tracking_uri=url))).state == state


def test_a_tracking_server_that_is_away_is_a_failure(tmp_path: Path) -> None:
    finding = only(doctor.check_tracking(settings(tmp_path, tracking_uri="http://127.0.0.1:1")))
    assert finding.state == FAILURE
    assert "BPTT_TRACKING_URI" in finding.advice


def test_tracking_switched_off_is_no_fault(tmp_path: Path) -> None:
    assert only(doctor.check_tracking(settings(tmp_path, tracking_uri="none"))).state == OK


def test_checkpoint_storage_is_tried_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "check points"
    folder.mkdir()
    given = settings(tmp_path).model_copy(update={"checkpoints": folder.as_uri()})
    assert only(doctor.check_checkpoints(given)).state == OK
    assert list(folder.iterdir()) == []


def test_checkpoint_storage_of_an_unknown_kind_is_a_failure(tmp_path: Path) -> None:
    given = settings(tmp_path).model_copy(update={"checkpoints": "gopher://storage/runs"})
    finding = only(doctor.check_checkpoints(given))
    assert finding.state == FAILURE
    assert "BPTT_CHECKPOINTS" in finding.advice


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", float("inf"))
    runs, temporary = doctor.check_disk(settings(tmp_path))
    assert (runs.state, temporary.state) == (WARNING, WARNING)
    assert "--runs" in runs.advice


def test_requirements_are_compared_with_what_is_installed() -> None:
    assert list(doctor.unmet(["numpy>=1", "pytest>=8; extra == 'dev'"])) == []
    assert [needed for needed, _ in doctor.unmet(["numpy<1", "no-such-package>=2"])] == [
        "numpy<1",
        "no-such-package>=2",
    ]
    assert dict(doctor.unmet(["no-such-package>=2"])) == {"no-such-package>=2": "nothing"}


def test_an_mlflow_that_does_not_fit_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor.metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "3.18.0" if name == "mlflow" else installed(name))
    finding = only(doctor.check_python(settings(tmp_path)))
    assert finding.state == WARNING
    assert "3.18.0 is there" in finding.message
    assert "mlflow" in finding.advice


def test_what_is_installed_here_fits(tmp_path: Path) -> None:
    assert only(doctor.check_python(settings(tmp_path))).state == OK
    assert only(doctor.check_devices(settings(tmp_path))).state in (OK, WARNING)


def test_a_machine_without_a_compiler_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(compiled, "kernels_or_why", compiled.kernels_or_why.__wrapped__)
    finding = only(doctor.check_kernels(settings(tmp_path)))
    assert (finding.state, finding.message) == (WARNING, "torch's own alone: there is no C compiler")
    assert "gcc" in finding.advice


def test_compiled_kernels_are_told_of(tmp_path: Path) -> None:
    is_there = compiled.kernels() is not None
    assert only(doctor.check_kernels(settings(tmp_path))).state == (OK if is_there else WARNING)


def test_data_are_counted_and_missing_packages_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPTT_DATA", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "arch" else name)
    counted, *missing = doctor.check_data(settings(tmp_path))
    here = [name for name, entry in ENTRIES.items() if entry.place is None and entry.package != "arch"]
    assert f"{len(here)} of {len(ENTRIES)} here ({', '.join(here)})" in counted.message
    assert "seattle-weather" in here
    assert [finding.message for finding in missing] == ["sp500 is missing", "stocks is missing"]
    assert all(finding.state == WARNING and "pip install" in finding.advice for finding in missing)


@pytest.mark.slow
def test_ray_is_started_for_real_and_runs_a_task(tmp_path: Path) -> None:
    finding = only(doctor.check_ray(settings(tmp_path)))
    assert finding.state == OK
    assert "ran a task after" in finding.message


def end_this_process(_address: str) -> None:
    os._exit(1)


def test_ray_that_ends_the_process_it_is_in_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.executors.cluster.probe", end_this_process)
    finding = only(doctor.check_ray(settings(tmp_path)))
    assert finding.state == FAILURE
    assert "the process that tried Ray on this machine ended" in finding.message


def test_a_ray_cluster_that_is_away_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path).model_copy(update={"ray_address": "nonsense://nowhere"})
    finding = only(doctor.check_ray(given))
    assert finding.state == FAILURE
    assert "BPTT_RAY_ADDRESS" in finding.advice
