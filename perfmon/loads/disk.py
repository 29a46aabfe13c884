"""A load of the disk: chunks are written, one after the other, into files that roll."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from perfmon.core.latencies import Latencies
from perfmon.core.loads import DiskWrite, most_bytes
from perfmon.core.messages import Figures, Peer
from perfmon.loads.running import PROGRESS, Clock, Outcome, check_room, rate_figures

# The disk is measured before, for so long at most.
MEASURE = 1.0  # s

# Two rolls at least make a run that shows what rolling costs.
WANTED_ROLLS = 2


class DiskRunning:
    """The load in a folder of its own, which it makes and removes."""

    def __init__(self, load: DiskWrite, folder: Path, clock: Clock) -> None:
        """`clock` is in s."""
        self._load = load
        self._folder = folder
        self._clock = clock
        self._chunk = memoryview(os.urandom(load.chunk))  # nothing that a filesystem could pack
        self._file = -1
        self._path = folder
        self._before: Path | None = None  # the file before this one
        self._filled = 0  # bytes of this file
        self._files = 0
        self._bytes = 0
        self._latencies = Latencies()
        self._longest = 0.0  # s

    def prepare(self) -> Figures:
        """Measures the disk, and says how many rolls are to be expected."""
        self._folder.mkdir(parents=True, exist_ok=False)
        check_room(self._folder, most_bytes(self._load))
        rate = self._measure()
        rolls = rate * self._load.seconds / self._load.roll
        return {
            "expected_rate": round(rate),
            "expected_rolls": round(rolls, 2),
            "two_rolls_expected": rolls >= WANTED_ROLLS,
        }

    def _measure(self) -> float:
        """Bytes per second of writing, and of having it on the disk, into one file."""
        begun, size = self._clock(), 0
        self._open()
        while size < self._load.roll and self._clock() - begun < MEASURE:
            self._write()
            size += self._load.chunk
        if self._load.fsync != "never":
            os.fsync(self._file)
        rate = size / max(self._clock() - begun, 1e-6)
        self._close()
        self._path.unlink()
        self._files = self._filled = self._bytes = 0
        return rate

    def meet(self, peers: Sequence[Peer]) -> None:
        """Nobody."""

    def run(self, stopped: Callable[[], bool], tell: Callable[[float, Figures], None]) -> Outcome:
        begun = told = self._clock()
        self._open()
        while (now := self._clock()) - begun < self._load.seconds and not stopped():
            if now - told >= PROGRESS:
                told = now
                tell((now - begun) / self._load.seconds, self._figures(now - begun))
            if self._filled >= self._load.roll:
                self._roll()
            self._write()
            if self._load.fsync == "chunk":
                os.fsync(self._file)
            spent = self._clock() - now
            self._latencies.add(spent)
            self._longest = max(self._longest, spent)
            self._bytes += self._load.chunk
        if self._load.fsync == "roll":
            os.fsync(self._file)
        seconds = self._clock() - begun
        self._close()
        return Outcome({**self._figures(seconds), "two_rolls": self._rolls >= WANTED_ROLLS})

    @property
    def _rolls(self) -> int:
        return max(0, self._files - 1)

    def _figures(self, seconds: float) -> Figures:
        """The latencies (s) are those of chunks; one at whose beginning a file is rolled has that in it."""
        more = {f"p{100 * share:g}": self._latencies.quantile(share) for share in (0.5, 0.95, 0.99)}
        return rate_figures(
            self._bytes, seconds, {**more, "longest": self._longest, "files": self._files, "rolls": self._rolls}
        )

    def _roll(self) -> None:
        if self._load.fsync == "roll":
            os.fsync(self._file)
        self._close()
        if self._before is not None:
            self._before.unlink()
        self._before = self._path
        self._open()

    def _open(self) -> None:
        self._path = self._folder / f"{self._files:06}"
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._files += 1
        self._filled = 0

    def _write(self) -> None:
        left = self._chunk
        while left:
            left = left[os.write(self._file, left) :]
        self._filled += self._load.chunk

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def clean(self) -> None:
        self._close()
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder)
