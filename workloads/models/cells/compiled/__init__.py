"""The kernels in C beside this file, compiled once on each kind of machine that has a compiler, and loaded.

What is compiled is for the processor at hand, so it is kept by its name, the compiler's and the source, in the user's
cache folder. One process compiles while others wait, the whole is renamed into place, and a compiler that failed is not
asked again. Whatever is in the way, the answer is None: torch's own kernels do as well, and only the debug log tells.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
"""No -ffast-math: what is no number must stay none, or a training that diverges would not be seen to."""
SOURCES = ("products.h", "windows.h", "activations.h", "recurrence.c", "layer_norm_lstm.c", "min_gru.c")
COMPILING_S = 120.0
"""How long a compiler may take, and others wait for it; it takes about three seconds."""

log = logging.getLogger(__name__)


class Sizes(ctypes.Structure):
    """Of time, batch, inputs and hidden units, as the C code has it."""

    _fields_ = [(name, ctypes.c_long) for name in ("steps", "batch", "inputs", "hidden")]


class Weights(ctypes.Structure):
    """Where the gradients of weights go, as the C code has it."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("from_input", "from_hidden", "input_bias", "hidden_bias")]


class LayerNormWeights(ctypes.Structure):
    """Weights of a layer-normalised LSTM, or where their gradients go."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("from_hidden", "gain", "cell_gain", "cell_bias")]


class LayerNormKept(ctypes.Structure):
    """What a layer-normalised LSTM keeps for the way back."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("gates", "normed", "cells", "normed_cells", "shown", "scales")]


class Kernels:
    """The functions of a compiled file; see the source for what they take."""

    def __init__(self, path: str) -> None:
        """OSError where it cannot be loaded."""
        library = ctypes.CDLL(path)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self.work_size, self.forward, self.backward = library.work_size, library.forward, library.backward
        self.work_size.restype, self.work_size.argtypes = ctypes.c_long, [number, Sizes]
        self.forward.restype, self.forward.argtypes = number, [number, Sizes, *[pointer] * 12]
        self.backward.restype, self.backward.argtypes = None, [number, Sizes, *[pointer] * 13, Weights, pointer]

        self.layer_norm_lstm_work_size = library.layer_norm_lstm_work_size
        self.layer_norm_lstm_work_size.restype = ctypes.c_long
        self.layer_norm_lstm_work_size.argtypes = [Sizes]
        fixed = [LayerNormWeights, LayerNormKept]
        self.layer_norm_lstm_forward = library.layer_norm_lstm_forward
        self.layer_norm_lstm_forward.argtypes = [Sizes, *[pointer] * 3, *fixed, *[pointer] * 2]
        self.layer_norm_lstm_backward = library.layer_norm_lstm_backward
        self.layer_norm_lstm_backward.argtypes = [
            *[Sizes, pointer, pointer, *fixed, *[pointer] * 5, LayerNormWeights, pointer]
        ]

        self.min_gru_work_size = library.min_gru_work_size
        self.min_gru_work_size.restype, self.min_gru_work_size.argtypes = ctypes.c_long, [Sizes]
        self.min_gru_forward, self.min_gru_backward = library.min_gru_forward, library.min_gru_backward
        self.min_gru_forward.argtypes = [Sizes, *[pointer] * 7]
        self.min_gru_backward.argtypes = [Sizes, *[pointer] * 11]

    def try_out(self) -> None:
        """Run everything once on zeros: a processor that lacks an instruction ends the process."""
        sizes = Sizes(2, 9, 33, 33)
        works = [self.work_size(kind, sizes) for kind in range(4)]
        works += [self.layer_norm_lstm_work_size(sizes), self.min_gru_work_size(sizes)]
        arrays = [(ctypes.c_float * (4 * 2 * 9 * 33 * 33 + max(works)))() for _ in range(17)]
        there = [ctypes.addressof(array) for array in arrays]
        for kind, numbers in itertools.product(range(4), (None, arrays[1])):
            self.forward(kind, sizes, arrays[0], numbers, *arrays[1:11])
            self.backward(kind, sizes, arrays[0], numbers, *arrays[1:12], Weights(*there[12:16]), arrays[16])
        fixed = LayerNormWeights(*there[:4]), LayerNormKept(*there[4:10])
        self.layer_norm_lstm_forward(sizes, *arrays[10:13], *fixed, *arrays[14:16])
        to = LayerNormWeights(*there[:4])
        self.layer_norm_lstm_backward(sizes, *arrays[10:12], *fixed, *arrays[10:15], to, arrays[15])
        self.min_gru_forward(sizes, *arrays[:7])
        self.min_gru_backward(sizes, *arrays[:11])


def kernels() -> Kernels | None:
    """Return the kernels, compiled now if they never were for this machine; None where they cannot be."""
    found = kernels_or_why()
    return None if isinstance(found, str) else found


@cache
def kernels_or_why() -> Kernels | str:
    """Return the kernels, or why there are none."""
    try:
        return Kernels(str(_compiled()))
    except (OSError, RuntimeError, ValueError, ImportError, AttributeError, subprocess.SubprocessError) as error:
        log.debug("no compiled kernels: %s", error)
        return str(error) or type(error).__name__


def _compiled() -> Path:
    """Return the compiled file; OSError, ValueError or SubprocessError where there is none."""
    compiler = _compiler()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bptt" / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is another user's")
    path = folder / f"kernels-{_fingerprint(compiler)}.so"
    if path.exists():
        return path
    with _alone(path.with_suffix(".lock")):
        failure = path.with_suffix(".failed")
        if failure.exists():
            raise OSError(f"it failed before, see {failure}")
        if not path.exists():
            _compile(compiler, path, failure)
    return path


def _compiler() -> list[str]:
    wanted = os.environ.get("CC")
    for name in [wanted] if wanted else ["cc", "gcc", "clang"]:
        words = shlex.split(name)
        if words and (found := shutil.which(words[0])):
            return [found, *words[1:]]
    raise FileNotFoundError("there is no C compiler")


def _fingerprint(compiler: list[str]) -> str:
    """Tell apart what would be compiled otherwise, or would not run here."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=COMPILING_S).stdout
    content = [path.read_bytes() for path in _sources()]
    parts = [*content, " ".join([*compiler, *FLAGS]).encode(), version, _processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _sources(ending: str = "") -> list[Path]:
    return [Path(__file__).with_name(name) for name in SOURCES if name.endswith(ending)]


def _processor() -> str:
    """Return what says which instructions there are."""
    with contextlib.suppress(OSError):
        told = ("model name", "flags", "Features", "CPU implementer", "CPU part")
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        return "\n".join([platform.machine(), *(line for line in lines if line.startswith(told))])
    return f"{platform.machine()} {platform.processor()} {platform.platform()}"


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is in here; TimeoutError after a while."""
    import fcntl  # not on every system

    until = time.monotonic() + COMPILING_S
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(f"{lock} is held by another process") from None
                time.sleep(0.05)
            else:
                break
        yield


def _compile(compiler: list[str], path: Path, failure: Path) -> None:
    """Compile, try out in a process of its own, and rename; what the compiler or the trial says goes to `failure`."""
    partial = path.with_suffix(f".{os.getpid()}.so")
    command = [*compiler, *FLAGS, "-o", str(partial), *map(str, _sources(".c")), "-lm"]
    try:
        for each in (command, [sys.executable, __file__, str(partial)]):
            done = subprocess.run(each, capture_output=True, text=True, timeout=COMPILING_S)
            if done.returncode:
                failure.write_text(f"{shlex.join(each)}: exit status {done.returncode}\n{done.stderr}")
                raise OSError(f"{each[0]} ended with {done.returncode}, see {failure}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":  # with nothing of this project or of torch: in milliseconds
    Kernels(sys.argv[1]).try_out()
