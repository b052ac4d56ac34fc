"""Speech recognition: from files to transcripts, exact in batches and when resumed, with what it left out counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workloads
from tests.conftest import FolderStorage, train_moving
from workloads.data.batches import pad
from workloads.hyperparameters import read_hyperparameters
from workloads.protocol import Dataset
from workloads.tasks.transcribing import Batch, SpeechPredictor, TranscribingTask

soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")
pytest.importorskip("jiwer", reason="the extra `speech` is not installed")

RATE = 8000
NOTES = {"a": 400, "b": 900, "c": 1800}
"""A language of three whistles, Hz."""
SMALL = {
    "hidden_size": 24,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "truncation_length": 8,
    "sequence_steps": 12_000,
    "evaluations": 3,
}


def whistle(text: str, random: np.random.Generator) -> np.ndarray:
    parts = []
    for letter in text:
        steps = np.arange(int(RATE * random.uniform(0.1, 0.16))) / RATE
        sound = np.sin(2 * np.pi * NOTES[letter] * steps) * np.hanning(len(steps))
        parts += [sound, np.zeros(int(RATE * 0.04))]
    sound = np.concatenate(parts)
    return (0.5 * sound + random.normal(0, 0.01, len(sound))).astype(np.float32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("whistles"), np.random.default_rng(0)
    rows = []
    for number in range(120):
        text = "".join(random.choice(list(NOTES), random.integers(1, 5)))
        soundfile.write(folder / f"{number}.wav", whistle(text, random), RATE)
        rows.append({"path": f"{number}.wav", "transcript": text.upper(), "speaker": f"speaker {number % 12}"})
    path = folder / "whistles.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def dataset(manifest: Path) -> Dataset:
    return load(manifest).prepare()


def load(manifest: Path, **options: Any) -> Any:
    return workloads.load("speech", {"corpus": str(manifest), "mel_bands": 12, **options})


def measured(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "per_second" not in name and "memory" not in name}


@pytest.mark.slow
def test_whistles_are_learnt_and_new_ones_are_transcribed(manifest: Path, storage: FolderStorage) -> None:
    workload = load(manifest, beam_width=4)
    dataset = workload.prepare()
    params = {**SMALL, "sequence_steps": 60_000, "bidirectional": True}
    *_, last = workload.train(params, dataset, storage)
    assert last.metrics["valid_character_error_rate"] < 0.1 < dataset.baselines["commonest/valid_character_error_rate"]
    assert last.metrics["test_word_error_rate"] < 0.3
    assert last.metrics["test_beam_word_error_rate"] < 0.3
    predictor = workload.predictor(storage.read(last.checkpoint))
    sound = whistle("abcab", np.random.default_rng(5))
    for beam_width in (1, 4):
        answer = predictor.predict({"audio": [sound.tolist()]}, {"beam_width": beam_width})
        assert answer == {"transcript": ["abcab"]}
    twice = np.repeat(sound, 2)  # a crude way to another sample rate
    assert predictor.predict({"audio": [twice], "sample_rate": [2 * RATE]}, {})["transcript"] == ["abcab"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"bidirectional": True, "num_layers": 2, "dropout": 0.3, "cell_type": "gru"},
        {"k1": 3},
        {"truncation": "random", "truncation_length": 6, "bidirectional": True},
        {"truncation": "unbiased", "truncation_length": 6, "dropout": 0.3},
        {"truncation": "adaptive", "truncation_length": 20, "bidirectional": True},
        {"truncation": "full", "bidirectional": True, "memory_budget_mb": 0.1},
    ],
    ids=str,
)
def test_a_resumed_trial_equals_an_uninterrupted_one(
    params: dict[str, Any], manifest: Path, storage: FolderStorage
) -> None:
    workload = load(manifest, time_mask=3, frequency_mask=4, speeds=(0.9, 1.0))
    dataset = workload.prepare()
    whole = list(workload.train({**SMALL, **params}, dataset, storage))
    torch.rand(17)  # whatever else ran in the process in between
    for stopped_after in range(2):
        rest = list(workload.train({**SMALL, **params}, dataset, storage, whole[stopped_after].checkpoint))
        assert [measured(each.metrics) for each in rest] == [
            measured(each.metrics) for each in whole[stopped_after + 1 :]
        ]


@pytest.mark.slow
def test_a_trial_that_moves_in_the_middle_of_an_interval_equals_one_that_stays(
    manifest: Path, storage: FolderStorage
) -> None:
    workload = load(manifest, time_mask=3, frequency_mask=4, speeds=(0.9, 1.0))
    dataset = workload.prepare()
    params = {**SMALL, "dropout": 0.2, "num_layers": 2, "truncation": "unbiased"}
    whole = list(workload.train(params, dataset, storage))
    for updates in (1, 3):
        moved, left = train_moving(workload, params, dataset, folder=storage.folder, updates=updates)
        assert len(left) > 4
        assert [measured(each.metrics) for each in moved] == [measured(each.metrics) for each in whole]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_batch_has_the_loss_of_its_utterances_one_by_one(bidirectional: bool, dataset: Dataset) -> None:
    torch.manual_seed(0)
    h = read_hyperparameters({**SMALL, "bidirectional": bidirectional, "num_layers": 2}, whole_sequences=True)
    task = TranscribingTask(h, dataset.arrays, dict(dataset.facts))
    device = torch.device("cpu")
    indices = np.arange(8)
    together, terms = task.loss(task.batch(indices, 0, device))
    alone = [task.loss(task.batch(np.array([index]), 0, device)) for index in indices]
    torch.testing.assert_close(together, torch.stack([loss for loss, _ in alone]).sum())
    assert terms == sum(count for _, count in alone)


def test_the_error_of_every_speaker_is_told(manifest: Path, dataset: Dataset, storage: FolderStorage) -> None:
    progress = next(load(manifest).train(SMALL, dataset, storage))
    speakers = {
        name.partition("/speaker:")[2] for name in progress.metrics if name.startswith("test_word") and "/" in name
    }
    recorded = {dataset.facts["speakers"][place] for place in dataset.arrays["speakers"][dataset.arrays["parts"] == 2]}
    assert len(recorded) > 0
    assert speakers == (recorded if len(recorded) > 1 else set())


def test_masks_hide_parts_of_training_utterances_alone_and_differ_by_epoch(manifest: Path) -> None:
    workload = load(manifest, time_mask=5, frequency_mask=6)
    dataset = workload.prepare()
    task = TranscribingTask(read_hyperparameters(SMALL, whole_sequences=True), dataset.arrays, dict(dataset.facts))
    device, indices = torch.device("cpu"), np.arange(8)
    first, again, later = (task.batch(indices, epoch, device).features for epoch in (0, 0, 1))
    plain = torch.from_numpy(pad([task._features(task.members["train"][index]) for index in indices]))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    hidden = (first != plain).float().mean()
    assert 0.01 < hidden < 0.7
    assert (first[first != plain] == 0).all()


def test_recordings_that_cannot_be_used_are_counted_with_their_reasons(manifest: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        row["path"] = str(manifest.parent / row["path"])
    whole = Path(rows[0]["path"]).read_bytes()
    (tmp_path / "torn.wav").write_bytes(whole[:-2000])
    (tmp_path / "noise.wav").write_bytes(b"\1\2\3" * 100)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "short.wav", np.zeros(400), RATE)
    soundfile.write(tmp_path / "long.wav", np.zeros(RATE * 31), RATE)
    spoilt = [
        ("torn.wav", "a"),
        ("noise.wav", "a"),
        ("empty.wav", "a"),
        ("gone.wav", "a"),
        ("short.wav", "abcabc"),
        ("long.wav", "a"),
    ]
    rows += [{"path": str(tmp_path / name), "transcript": text, "speaker": rows[0]["speaker"]} for name, text in spoilt]
    rows += [{"path": rows[0]["path"], "transcript": text, "speaker": rows[0]["speaker"]} for text in ("  ", "a~")]
    path = tmp_path / "spoilt.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    dataset = load(path, alphabet="abc").prepare()
    assert dataset.facts["skipped"] == {
        "truncated: fewer samples than the file announces": 1,
        "not a sound file that can be read": 1,
        "empty: 0 samples": 1,
        "no such file": 1,
        "fewer steps than its transcript needs": 1,
        "longer than 30 seconds": 1,
        "no transcript": 1,
        "a transcript with characters that are not in the alphabet": 1,
    }
    assert "8 recordings skipped: " in dataset.source
    assert len(dataset.arrays["steps"]) == 120


def test_a_corpus_that_is_mostly_unusable_is_refused(tmp_path: Path) -> None:
    rows = [{"path": f"{number}.wav", "transcript": "a"} for number in range(5)]
    path = tmp_path / "gone.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"^workload.corpus: none of 5 recordings can be read, the first .*0.wav"):
        load(path).prepare()
    with pytest.raises(
        ValueError, match=r"^workload.corpus: .* nothing in the train part; 5 recordings skipped: no such"
    ):
        load(path, sample_rate=8000).prepare()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "phone"}, "workload.unit: 'phone'"),
        ({"alphabet": ""}, "workload.alphabet"),
        ({"speeds": (0.1,)}, "workload.speeds"),
        ({"mel_bands": 10, "frequency_mask": 11}, "workload.frequency_mask"),
        ({"valid_part": 0.6, "test_part": 0.5}, "workload.valid_part"),
        ({"hop_ms": 0.0}, "workload.hop_ms"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        workloads.load("speech", options)


def test_a_grid_finer_than_a_batch_is_refused(manifest: Path, dataset: Dataset, storage: FolderStorage) -> None:
    with pytest.raises(ValueError, match=r"^budget.evaluations: 100 leave 1 sequence steps"):
        next(load(manifest).train({**SMALL, "sequence_steps": 100, "evaluations": 100}, dataset, storage))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a.wav"]}, "a column `audio`"),
        ({"audio": [[]]}, "row 1: empty: 0 samples"),
        ({"audio": [["x"]]}, "row 1 holds no samples"),
        ({"audio": [[0.1] * 900, [[0.1], [0.2]]]}, "row 2: one channel"),
        ({"audio": [[0.1, float("nan")]]}, "row 1: samples that are not finite"),
        ({"audio": [[0.1] * 900], "sample_rate": [0]}, "row 1: one channel at 1,000 Hz or more"),
    ],
)
def test_input_that_is_no_sound_is_refused(
    columns: dict[str, Any], message: str, manifest: Path, dataset: Dataset, storage: FolderStorage
) -> None:
    progress = next(load(manifest).train({**SMALL, "sequence_steps": 900}, dataset, storage))
    predictor = SpeechPredictor(storage.read(progress.checkpoint))
    with pytest.raises(ValueError, match=message):
        predictor.predict(columns, {})
    example, options = predictor.example()
    assert isinstance(predictor.predict(example, options)["transcript"][0], str)


def test_memory_on_the_way_back_does_not_grow_with_the_utterance(dataset: Dataset) -> None:
    """Weigh what autograd keeps of one utterance, in floats for each step, with and without truncation."""
    torch.manual_seed(0)

    def kept(truncation_length: int, length: int) -> int:
        h = read_hyperparameters(
            {**SMALL, "truncation_length": truncation_length, "hidden_size": 64, "num_layers": 2}, whole_sequences=True
        )
        task = TranscribingTask(h, dataset.arrays, dict(dataset.facts))
        batch = Batch(
            torch.randn(length, 1, task.arrays["features"].shape[1]),
            torch.tensor([length]),
            torch.tensor([1, 2], dtype=torch.int32),
            torch.tensor([2]),
        )
        seen: dict[int, int] = {}

        def count(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            task.loss(batch)
        return sum(seen.values())

    truncated, full = (kept(length, 400) - kept(length, 200) for length in (20, 10_000))
    # Features, logits and the loss's own tables grow; the layers' insides, of 64 units with four gates, do not.
    assert truncated < full / 2
    assert truncated < 200 * 2 * (36 + 64 + 2 * 4 * 4)


def test_the_default_needs_no_download_and_has_no_speaker_in_two_parts() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra `speech` is not installed")
    dataset = workloads.load("speech", {}).prepare()
    parts, speakers = dataset.arrays["parts"], dataset.arrays["speakers"]
    of_part = [set(speakers[parts == part]) for part in range(3)]
    assert all(of_part)
    assert sum(map(len, of_part)) == len(set(speakers))
    assert dataset.fingerprint == workloads.load("speech", {}).prepare().fingerprint


def rewritten(manifest: Path, tmp_path: Path, **changes: dict[int, Any]) -> Path:
    """Return a manifest of the same recordings with other values in some rows."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["path"] = str(manifest.parent / row["path"])
        row |= {name: values[number] for name, values in changes.items() if number in values}
    path = tmp_path / "rewritten.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_what_training_never_spelled_counts_as_an_error_beside_the_same_baseline(
    manifest: Path, tmp_path: Path, storage: FolderStorage
) -> None:
    parts = {number: "valid" if number < 20 else "train" for number in range(120)}
    path = rewritten(manifest, tmp_path, transcript={0: "zz", 1: "za"}, part=parts)
    workload = load(path, test_part=0.0)
    dataset = workload.prepare()
    assert "2 held-out transcripts have symbols that training lacks" in dataset.source
    assert (dataset.arrays["parts"] == 1).sum() == 20
    progress = next(workload.train(SMALL, dataset, storage))
    assert progress.metrics["valid_word_error_rate"] >= 2 / 20


def test_a_first_recording_at_an_impossible_rate_spoils_nothing(manifest: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "slow.wav", np.zeros(20), 10)
    dataset = load(rewritten(manifest, tmp_path, path={0: str(tmp_path / "slow.wav")})).prepare()
    assert dataset.facts["front_end"]["sample_rate"] == RATE
    assert dataset.facts["skipped"] == {"a sample rate that no sound has": 1}


def test_a_speed_too_fast_for_a_transcript_costs_that_speed_alone(manifest: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quick.wav", whistle("abc", np.random.default_rng(0))[:1400], RATE)
    changes = {"path": {0: str(tmp_path / "quick.wav")}, "transcript": {0: "abcab"}, "part": {0: "train"}}
    path = rewritten(manifest, tmp_path, **changes)
    counts = [len(load(path, speeds=speeds).prepare().arrays["steps"]) for speeds in ((1.0, 2.0), (2.0, 1.0))]
    assert counts[0] == counts[1]
    assert load(path, speeds=(1.0, 2.0)).prepare().facts["skipped"] == {}
