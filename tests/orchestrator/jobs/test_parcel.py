"""What travels to a cluster: all that the sweep needs, nothing of this machine, no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.drive_command import received
from orchestrator.errors import UserError
from orchestrator.jobs import parcel
from orchestrator.jobs.parcel import Submission, holds_secret, is_loopback, pack, travelling
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from


def text_spec(text: str, **space: Any) -> SweepSpec:
    return spec_from(
        {
            "name": "test",
            "workload": {"kind": "language_model", "text": text},
            "space": {"learning_rate": {"float": [1e-5, 0.1], "log": True}, **space},
        }
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "here"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.syspath_prepend(str(made))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "parcel"
    made.mkdir()
    return made


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_sweep_and_its_relative_files_travel_and_arrive_unchanged(here: Path, folder: Path) -> None:
    (here / "data").mkdir()
    (here / "data" / "a.txt").write_text("abc" * 50)
    (here / "data" / "b.txt").write_text("not named")
    spec, submission = text_spec("data/a.txt"), Submission({"study_url": "postgresql://u@db/x"}, 3)
    pack(spec, submission, folder, here=here, with_project=False)
    assert files(folder) == {"sweep.yaml", "submission.json", "data/a.txt"}
    assert received(folder) == (submission, spec)


def test_the_project_travels_unless_the_image_has_it(here: Path, folder: Path) -> None:
    pack(text_spec("python-reference"), Submission(), folder, here=here)
    there = files(folder)
    assert {"orchestrator/cli/__main__.py", "workloads/sweeps/demo.yaml"} <= there
    assert not [name for name in there if "__pycache__" in name or name.startswith(".")]


def test_modules_of_ones_own_travel_with_what_they_import(here: Path, folder: Path) -> None:
    (here / "mine_cells.py").write_text("import json\nfrom mine_parts.blocks import block\nclass Cell: ...\n")
    (here / "mine_parts").mkdir()
    (here / "mine_parts" / "__init__.py").write_text("")
    (here / "mine_parts" / "blocks.py").write_text("import mine_other\nblock = 1\n")
    (here / "mine_other.py").write_text("")
    (here / "unrelated.py").write_text("")
    spec = text_spec("python-reference", cell_type=["lstm", "mine_cells:Cell"])
    pack(spec, Submission(), folder, here=here, with_project=False)
    wanted = {"mine_cells.py", "mine_parts/__init__.py", "mine_parts/blocks.py", "mine_other.py"}
    assert files(folder) == {"sweep.yaml", "submission.json", *wanted}


@pytest.mark.parametrize("text", ["/etc/hostname", "~/text.txt", "file:///x", "C:\\text.txt", "../outside.txt", "."])
def test_a_path_of_this_machine_is_refused(text: str, here: Path, folder: Path) -> None:
    (here.parent / "outside.txt").write_text("x")
    with pytest.raises(UserError, match=r"workload\.text: .*"):
        pack(text_spec(text), Submission(), folder, here=here)


def test_a_manifest_travels_with_its_recordings(here: Path) -> None:
    (here / "talk").mkdir()
    for name in ("talk/manifest.csv", "talk/a.wav", "loose.csv"):
        (here / name).write_text("path,transcript\n")
    spec = spec_from({"name": "t", "workload": {"kind": "speech"}, "space": {"hidden_size": [8, 16]}})

    named_spec = spec.workload.model_validate({"kind": "speech", "corpus": "talk/manifest.csv"})
    assert parcel.data_files(spec.model_copy(update={"workload": named_spec}), here) == ["talk"]
    loose = spec.workload.model_validate({"kind": "speech", "corpus": "loose.csv"})
    with pytest.raises(UserError, match="a folder of its own"):
        parcel.data_files(spec.model_copy(update={"workload": loose}), here)


def test_more_than_ray_takes_is_refused_with_the_largest_named(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "big.txt").write_text("x" * 10_000)
    monkeypatch.setattr(parcel, "MOST_BYTES", 9_000)
    with pytest.raises(UserError, match=r"most of it big\.txt"):
        pack(text_spec("big.txt"), Submission(), folder, here=here, with_project=False)


def test_the_limit_is_not_above_rays_own() -> None:
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    assert parcel.MOST_BYTES <= GCS_STORAGE_MAX_SIZE


def test_only_settings_without_secrets_that_make_sense_elsewhere_travel(tmp_path: Path) -> None:
    given = {
        "BPTT_STUDY_URL": "postgresql://u:hunter2@db/x",
        "BPTT_TRACKING_URI": "http://tracking:5000",
        "BPTT_CHECKPOINTS": "s3://bucket/x?secret_key=hunter2",
        "BPTT_MEMORY_GB": "3.5",
    }
    given["BPTT_KEEP"] = "all"
    settings = Settings.load({"runs": tmp_path}, given)
    elsewhere = {"tracking_uri": "http://tracking:5000", "memory_gb": 3.5, "keep": "all"}
    assert travelling(settings, allow_local=False) == elsewhere
    on_one_machine = travelling(settings, allow_local=True)
    assert on_one_machine["runs"] == str(tmp_path)
    assert "hunter2" not in json.dumps(on_one_machine)


@pytest.mark.parametrize("url", ["http://token@host", "s3://key:secret@b/x", "postgresql://u:p@db/x", "s3://b?token=x"])
def test_urls_with_secrets_are_told(url: str) -> None:
    assert holds_secret(url)
    assert not holds_secret("postgresql://user@db/x")


def test_addresses_of_this_machine_are_told() -> None:
    assert all(is_loopback(url) for url in ("http://localhost:5000", "postgresql://u@127.0.0.1/x", "http://[::1]:1"))
    assert not any(is_loopback(url) for url in ("http://localhost.example.org", "s3://127bucket"))


def test_the_clusters_own_variables_come_before_what_travelled() -> None:
    submission = Submission({"study_url": "postgresql://u@far/x", "tracking_uri": "none", "checkpoints": "s3://b/c"})
    settings = submission.load({"BPTT_STUDY_URL": "postgresql://u:p@near/x", "BPTT_CHECKPOINTS": ""})
    assert (settings.study_url, settings.checkpoints) == ("postgresql://u:p@near/x", "s3://b/c")
    assert settings.ray_address == "auto"


def test_a_file_that_the_clusters_nodes_name_comes_before_what_travelled(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:secret@near/x")
    submission = Submission({"study_url": "postgresql://u@far/x", "tracking_uri": "none", "checkpoints": "s3://b/c"})
    settings = submission.load({"BPTT_STUDY_URL_FILE": str(tmp_path / "url")})
    assert settings.study_url == "postgresql://u:secret@near/x"


def test_what_only_one_node_would_see_is_refused_unless_allowed() -> None:
    with pytest.raises(UserError, match="set BPTT_STUDY_URL, BPTT_CHECKPOINTS, BPTT_TRACKING_URI in the environment"):
        Submission().load({})
    with pytest.raises(UserError, match=r"checkpoints: file:.*set BPTT_CHECKPOINTS in"):
        Submission({"tracking_uri": "none"}).load({"BPTT_STUDY_URL": "postgresql://db/x"})
    assert Submission(allow_local=True).load({}).study_url.startswith("sqlite:")
