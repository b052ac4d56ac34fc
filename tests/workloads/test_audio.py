"""Sound files and features: what is read, what is refused and why."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.audio import (
    Frames,
    UnusableAudio,
    features_of,
    log_mel,
    mel_filters,
    normalize,
    read_audio,
    resample,
    stack_frames,
)

soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")
RATE = 8000


def tone(seconds: float = 0.5, hertz: float = 440, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_what_was_written_is_read(ending: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"a.{ending}", tone(), RATE)
    samples, rate = read_audio(tmp_path / f"a.{ending}")
    assert rate == RATE
    np.testing.assert_allclose(samples, tone(), atol=1e-4)


def test_two_channels_become_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), np.zeros_like(tone())], axis=1), RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav")[0], tone() / 2, atol=1e-4)


def written(tmp_path: Path, samples: np.ndarray) -> bytes:
    soundfile.write(tmp_path / "whole.wav", samples, RATE)
    return (tmp_path / "whole.wav").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda whole: whole[:-1000], "truncated"),
        (lambda whole: whole[:60], "truncated"),
        (lambda whole: whole[:30], "not a sound file"),
        (lambda whole: b"", "not a sound file"),
        (lambda whole: b"\0" * 5000, "not a sound file"),
        (lambda whole: b"RIFF" + whole[4:8] + b"JUNK" * 20, "not a sound file"),
        (lambda whole: b"path,transcript\n", "not a sound file"),
    ],
)
def test_a_spoilt_file_is_unusable_and_says_why(spoil: object, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.wav"
    path.write_bytes(spoil(written(tmp_path, tone())))  # type: ignore[operator]
    with pytest.raises(UnusableAudio, match=reason):
        read_audio(path)


def test_a_file_without_samples_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(written(tmp_path, tone()[:0]))
    with pytest.raises(UnusableAudio, match="0 samples"):
        read_audio(tmp_path / "empty.wav")


def test_a_missing_file_and_a_folder_are_unusable(tmp_path: Path) -> None:
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(UnusableAudio):
            read_audio(path)


def test_five_gigabytes_of_nothing_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "nothing.wav"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(UnusableAudio, match="not a sound file"):
        read_audio(path)


def test_a_long_recording_is_refused_before_it_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", tone(3), RATE)
    with pytest.raises(UnusableAudio, match="longer than 2 seconds"):
        read_audio(tmp_path / "long.wav", max_seconds=2)


def test_samples_that_are_not_finite_are_unusable(tmp_path: Path) -> None:
    spoilt = tone()
    spoilt[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", spoilt, RATE, subtype="FLOAT")
    with pytest.raises(UnusableAudio, match="not finite"):
        read_audio(tmp_path / "nan.wav")


@given(cut=st.integers(0, 4000))
@settings(deadline=None, max_examples=40)
def test_a_file_torn_anywhere_is_never_taken_for_whole(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("torn")
    whole = written(folder, tone(0.25))
    path = folder / "torn.wav"
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(UnusableAudio):
        read_audio(path)


def test_a_tone_lights_up_its_own_band() -> None:
    filters = mel_filters(RATE, 256, 20)
    power = np.abs(np.fft.rfft(tone(hertz=1000)[:256] * np.hanning(256), 256)) ** 2
    bins = filters[:, np.argmax(power @ filters)].nonzero()[0] * RATE / 256  # Hz
    assert bins.min() <= 1000 <= bins.max()


@pytest.mark.parametrize("over", ["band", "utterance"])
def test_features_do_not_depend_on_loudness_and_are_normal(over: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    frames = Frames.of(RATE, bands=10, window_ms=25, hop_ms=10)
    loud, quiet = (normalize(log_mel(noise * factor, frames), over) for factor in (1.0, 0.1))
    assert loud.shape == (98, 10)
    np.testing.assert_allclose(loud, quiet, atol=1e-2)
    axis = 0 if over == "band" else None
    np.testing.assert_allclose(loud.mean(axis), 0, atol=1e-4)
    np.testing.assert_allclose(loud.std(axis), 1, atol=1e-3)


def test_a_sound_that_never_changes_keeps_its_spectrum_only_where_the_utterance_is_normalized() -> None:
    hum = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    energies = log_mel(hum, Frames.of(RATE, bands=10, window_ms=25, hop_ms=10))
    by_band, whole = normalize(energies, "band").mean(0), normalize(energies, "utterance").mean(0)
    assert np.ptp(by_band) < 0.2 < 1 < np.ptp(whole)
    assert np.argmax(whole) == np.argmax(energies.mean(0))


@given(frames=st.integers(1, 50), stack=st.integers(1, 7))
def test_stacked_frames_are_the_frames_in_their_order(frames: int, stack: int) -> None:
    features = np.random.default_rng(0).normal(size=(frames, 3)).astype(np.float32)
    stacked = stack_frames(features, stack)
    assert stacked.shape == (-(-frames // stack), 3 * stack)
    np.testing.assert_array_equal(stacked.reshape(-1, 3)[:frames], features)


def test_other_sample_rates_give_nearly_the_same_features() -> None:
    front_end = {"sample_rate": RATE, "mel_bands": 10, "window_ms": 25.0, "hop_ms": 10.0, "stack": 1}
    front_end["normalize"] = "band"
    speech = np.random.default_rng(0).normal(0, 0.1, RATE)
    band_limited = resample(resample(speech.astype(np.float32), RATE, 6000), 6000, RATE)
    there_and_back = resample(band_limited, RATE, 16000)
    low, high = features_of(band_limited, RATE, front_end), features_of(there_and_back, 16000, front_end)
    assert abs(len(low) - len(high)) <= 1
    assert np.corrcoef(low[:90].ravel(), high[:90].ravel())[0, 1] > 0.98


def test_a_single_sample_and_silence_have_finite_features() -> None:
    front_end = {"sample_rate": RATE, "mel_bands": 10, "window_ms": 25.0, "hop_ms": 10.0, "stack": 3}
    for sound, over in product((np.ones(1, np.float32), np.zeros(RATE, np.float32)), ("band", "utterance")):
        front_end["normalize"] = over
        assert np.isfinite(features_of(sound, RATE, front_end)).all()
