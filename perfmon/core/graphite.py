"""Graphite plaintext in, columns out: ``path value time\\n``, tags as ``path;name=value``.

Format: graphite.readthedocs.io, "Feeding In Your Data". A time of -1 means now.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from perfmon.core.names import BadName
from perfmon.core.numbering import Columns, Numbering
from perfmon.core.reject import BAD_LINE, BAD_NAME, BAD_VALUE, FUTURE, LONG_LINE, TOO_OLD, Rejected, TimeBounds
from perfmon.core.templates import PathReader
from perfmon.core.words import Places, Text, changes, decimals

MAX_LINE = 4096  # bytes; carbon's own clients stay far below, a longer one is a broken or hostile peer

_NUMBER_BYTES = b"0123456789+-.eE,"  # all that JSON numbers and the commas between them consist of

# Less than this is read faster line by line.
FEW = 1_000  # bytes

# From here on a read is cheaper without its tokens ever being objects: what that takes costs as much as some 500 lines.
MANY = 40_000  # bytes

# So few times are read faster one by one.
_FEW_TIMES = 100


def encode_lines(metrics: Sequence[str], host: str, values: Sequence[float], time: float) -> bytes:
    """Lines that say of each of the `metrics` of `host` its value at `time` (s since the epoch, to the millisecond).

    The host is a tag, so a metric that has tags keeps its name.
    """
    end = f"{time:.3f}\n"
    lines = [f"{metric};host={host} {value!r} {end}" for metric, value in zip(metrics, values, strict=True)]
    return "".join(lines).encode()


class GraphiteParser:
    """Cuts a byte stream into samples, keeping the unfinished last line.

    Goal: under 0.25 us a line. A whole read is taken as columns (`_fast`); one that is not made of nothing but
    well-formed lines goes line by line through `_careful`, with the same results for the good ones.
    """

    def __init__(
        self,
        numbering: Callable[[], Numbering],
        paths: PathReader,
        max_line: int = MAX_LINE,
        many: int = MANY,
    ) -> None:
        """`numbering` gives the numbering to use now; it changes when one is full. All parsers may share `paths`."""
        self._many = many
        self._numbering = numbering
        self._paths = paths
        self._max_line = max_line
        self._rest = b""
        self._skipping = False  # inside a line that is too long

    def feed(self, data: bytes, now: float, bounds: TimeBounds) -> tuple[Columns, list[Rejected]]:
        """Samples of all complete lines in `data`, and what was refused.

        `now` (s) stands in for a time of -1; `bounds` says which times can be stored.
        """
        end = data.rfind(b"\n") + 1
        lines = self._rest + data[:end] if end else b""
        self._rest = data[end:] if end else self._rest + data
        rejected: list[Rejected] = []
        if self._skipping and lines:
            lines = lines[lines.index(b"\n") + 1 :]
            self._skipping = False
        if self._skipping or len(self._rest) > self._max_line:
            if not self._skipping:
                rejected.append(self._too_long(self._rest))
            self._rest = b""
            self._skipping = True
        numbering = self._numbering()
        found = None
        if len(lines) >= FEW:
            found = self._fast(lines, now, bounds, numbering, rejected)
        if found is None:
            found = self._careful(lines, now, bounds, numbering, rejected)
        return found, rejected

    def _too_long(self, line: bytes) -> Rejected:
        return Rejected(LONG_LINE, f"a line of over {self._max_line} bytes: {_shown(line[:40])}...")

    def _fast(
        self, lines: bytes, now: float, bounds: TimeBounds, numbering: Numbering, rejected: list[Rejected]
    ) -> Columns | None:
        """All of `lines` at once; None if any of them is unusual in any way but its path."""
        text = Text(lines)
        cut = _cut(text, self._max_line)
        if cut is None:
            return None
        starts, first, second, ends = cut
        tokens = lines.split() if len(lines) < self._many else []
        values = _loaded(tokens[1::3]) if tokens else _numbers(text, first + 1, second)
        times = _loaded(tokens[2::3]) if tokens else _times(text, second + 1, ends)
        if values is None or times is None:
            return None
        times[times == -1] = now
        if not (times.min() > bounds.oldest and times.max() <= bounds.newest):
            return None
        if tokens:
            return _columns(numbering, self._series(tokens[0::3], numbering, rejected), times, values)
        refused: dict[bytes, BadName] = {}
        series = numbering.paths.find(text, starts, first, lambda new: self._paths.series(new, numbering, refused))
        if refused:
            bad = np.flatnonzero(series < 0)
            paths = zip(starts[bad].tolist(), first[bad].tolist(), strict=True)
            rejected += [_bad_name(refused[lines[start:end]]) for start, end in paths]
        return _columns(numbering, series, times, values)

    def _careful(
        self, lines: bytes, now: float, bounds: TimeBounds, numbering: Numbering, rejected: list[Rejected]
    ) -> Columns:
        """Line by line, whatever they are."""
        paths: list[bytes] = []
        times: list[float] = []
        values: list[float] = []
        for line in lines.split(b"\n"):
            tokens = line.split()
            if len(line) > self._max_line:
                rejected.append(self._too_long(line))
            elif len(tokens) == 3:
                try:
                    value, time = _number(tokens[1]), _number(tokens[2])
                except ValueError:
                    rejected.append(Rejected(BAD_VALUE, f"no finite number for value or time: {_shown(line)}"))
                    continue
                if time == -1:
                    time = now
                if time > bounds.newest:
                    rejected.append(Rejected(FUTURE, f"{bounds.future_rule}: {_shown(line)}"))
                elif time <= bounds.oldest:
                    rejected.append(Rejected(TOO_OLD, f"{bounds.old_rule}: {_shown(line)}"))
                else:
                    paths.append(tokens[0])
                    times.append(time)
                    values.append(value)
            elif tokens:
                rejected.append(Rejected(BAD_LINE, f"not 'path value time': {_shown(line)}"))
        return _columns(numbering, self._series(paths, numbering, rejected), np.array(times), np.array(values))

    def _series(self, paths: Sequence[bytes], numbering: Numbering, rejected: list[Rejected]) -> NDArray[np.int64]:
        """The series of `paths`; -1 for those that can have none."""
        refused: dict[bytes, BadName] = {}
        series = numbering.paths.find_few(paths, lambda new: self._paths.series(new, numbering, refused))
        if refused:
            rejected += [_bad_name(refused[path]) for path, number in zip(paths, series, strict=True) if number < 0]
        return np.array(series, np.int64)


def _bad_name(problem: BadName) -> Rejected:
    return Rejected(BAD_NAME, str(problem))


_NOWHERE = np.zeros(1, np.int64)


def _cut(text: Text, max_line: int) -> tuple[Places, Places, Places, Places] | None:
    """Where the lines of `text` begin, where their two spaces are and where they end.

    None unless every line is three tokens with a space between, and short enough.
    """
    gaps = np.flatnonzero(text.bytes <= 0x20)  # all white space, and control characters, which no path has
    if len(gaps) % 3:
        return None
    found = text.bytes.take(gaps)
    first, second, ends = gaps[0::3], gaps[1::3], gaps[2::3]
    if (found[2::3] != ord("\n")).any() or np.count_nonzero(found == ord(" ")) != 2 * len(ends):
        return None
    starts = np.concatenate((_NOWHERE, ends[:-1] + 1))
    well = (first > starts) & (second > first + 1) & (ends > second + 1)
    return (starts, first, second, ends) if well.all() and (ends - starts).max() <= max_line else None


def _numbers(text: Text, starts: Places, ends: Places) -> NDArray[np.float64] | None:
    """The numbers that stand at starts..ends in `text`; None if any is not written as JSON writes one."""
    values, odd = decimals(text, starts, ends)
    if odd.any():
        others = np.flatnonzero(odd)
        tokens = [
            text.data[start:end] for start, end in zip(starts[others].tolist(), ends[others].tolist(), strict=True)
        ]
        numbers = _loaded(tokens)
        if numbers is None:
            return None
        values[others] = numbers
    return values


def _times(text: Text, starts: Places, ends: Places) -> NDArray[np.float64] | None:
    """The same for times, of which most are that of the line before."""
    count, others = len(starts), changes(text, starts, ends)
    starts, ends = starts[others], ends[others]
    if len(others) > _FEW_TIMES:
        numbers = _numbers(text, starts, ends)
    else:
        numbers = _loaded([text.data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])
    return None if numbers is None else np.repeat(numbers, np.diff(others, append=count))


def _loaded(tokens: list[bytes]) -> NDArray[np.float64] | None:
    """Tokens as floats; None if any is not written as JSON writes a number."""
    joined = b",".join(tokens)
    if joined.translate(None, _NUMBER_BYTES):
        return None
    try:
        numbers = orjson.loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    # a token with a comma of its own would have made two numbers
    return np.array(numbers, np.float64) if len(numbers) == len(tokens) else None


def _number(token: bytes) -> float:
    """A finite float. Raises ValueError."""
    number = float(token)
    if not math.isfinite(number) or b"_" in token:
        raise ValueError(token)
    return number


def _columns(
    numbering: Numbering, series: NDArray[np.int64], times: NDArray[np.float64], values: NDArray[np.float64]
) -> Columns:
    """Columns of those that have a series; `times` in s."""
    if len(series) and series.min() < 0:
        good = series >= 0
        series, times, values = series[good], times[good], values[good]
    return Columns(numbering, series, _milliseconds(times), values)


def _milliseconds(times: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(times * 1000).astype(np.int64)


def _shown(line: bytes) -> str:
    """A hostile line, safe for a log."""
    return repr(line[:80])[1:]
