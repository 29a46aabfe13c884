"""Graphite plaintext in, columns out: ``path value time\\n``, tags as ``path;name=value``.

Format: graphite.readthedocs.io, "Feeding In Your Data". A time of -1 means now.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import orjson
from numpy.typing import NDArray

from perfmon.core.names import BadName, checked_host, checked_metric, join_tags, split_tags
from perfmon.core.numbering import Columns, Numbering
from perfmon.core.reject import BAD_LINE, BAD_NAME, BAD_VALUE, FUTURE, LONG_LINE, TOO_OLD, Rejected, TimeBounds

MAX_LINE = 4096  # bytes; carbon's own clients stay far below, a longer one is a broken or hostile peer

_NUMBER_BYTES = b"0123456789+-.eE,"  # all that JSON numbers and the commas between them consist of


@dataclass(frozen=True, slots=True)
class Template:
    """A rule that finds the host in a path: ``servers.HOST``, ``dc.*.HOST``.

    Nodes must be equal, ``*`` stands for any one node, ``HOST`` is the host; what follows is the metric.
    """

    nodes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raises ValueError with a sentence for the person who wrote `text`."""
        nodes = tuple(text.split("."))
        if nodes.count("HOST") != 1 or not all(nodes):
            raise ValueError(
                f"Graphite template {text!r}: write nodes with dots between, one of them HOST: servers.HOST"
            )
        return cls(nodes)

    def match(self, nodes: Sequence[str]) -> tuple[str, str] | None:
        """(host, metric) of a path's nodes, None where the rule does not apply."""
        if len(nodes) <= len(self.nodes):
            return None
        if any(rule not in ("*", "HOST", node) for rule, node in zip(self.nodes, nodes, strict=False)):
            return None
        return nodes[self.nodes.index("HOST")], ".".join(nodes[len(self.nodes) :])


DEFAULT_TEMPLATES = tuple(
    Template.parse(rule) for rule in ("servers.HOST", "hosts.HOST", "collectd.HOST", "netdata.HOST", "HOST")
)


def split_path(path: str, templates: Sequence[Template] = DEFAULT_TEMPLATES) -> tuple[str, str]:
    """(host, metric) that a Graphite path names: by its tag ``host``, else by the first template that matches.

    Raises `BadName`.
    """
    name, tags = split_tags(path)
    host = tags.pop("host", None)
    if host is None:
        nodes = name.split(".")
        found = next(filter(None, (template.match(nodes) for template in templates)), None)
        if found is None:
            raise BadName(f"no host in path {path[:80]!r}: write HOST.METRIC, or a tag ;host=HOST")
        host, name = found
    return checked_host(host), checked_metric(join_tags(name, tags.items()))


def encode_lines(metrics: Sequence[str], host: str, values: Sequence[float], time: float) -> bytes:
    """Lines that say of each of the `metrics` of `host` its value at `time` (s since the epoch, to the millisecond).

    The host is a tag, so a metric that has tags keeps its name.
    """
    end = f"{time:.3f}\n"
    lines = [f"{metric};host={host} {value!r} {end}" for metric, value in zip(metrics, values, strict=True)]
    return "".join(lines).encode()


class GraphiteParser:
    """Cuts a byte stream into samples, keeping the unfinished last line.

    Goal: under 0.5 us a line. A whole read is taken as columns (`_fast`); one that is not made of nothing but
    well-formed lines goes line by line through `_careful`, with the same results for the good ones.
    """

    def __init__(
        self,
        numbering: Callable[[], Numbering],
        templates: Sequence[Template] = DEFAULT_TEMPLATES,
        max_line: int = MAX_LINE,
    ) -> None:
        """`numbering` gives the numbering to use now; it changes when one is full."""
        self._numbering = numbering
        self._templates = templates
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
        if not lines:
            return _columns(numbering, [], [], []), rejected
        found = self._fast(lines, now, bounds, numbering)
        if found is None:
            found = self._careful(lines, now, bounds, numbering, rejected)
        return found, rejected

    def _too_long(self, line: bytes) -> Rejected:
        return Rejected(LONG_LINE, f"a line of over {self._max_line} bytes: {_shown(line[:40])}...")

    def _fast(self, lines: bytes, now: float, bounds: TimeBounds, numbering: Numbering) -> Columns | None:
        """All of `lines` at once; None if any of them is unusual in any way."""
        if not _three_tokens_each(lines, self._max_line):
            return None
        tokens = lines.split()
        paths = tokens[0::3]
        values = _numbers(tokens[1::3])
        times = _numbers(tokens[2::3])
        if values is None or times is None:
            return None
        times[times == -1] = now
        if not (times.min() > bounds.oldest and times.max() <= bounds.newest):
            return None
        series = np.fromiter(map(numbering.paths.get, paths, repeat(-1)), np.int64, len(paths))
        unknown = np.flatnonzero(series < 0)
        for place in unknown.tolist():
            try:
                series[place] = self._resolve(paths[place], numbering)
            except BadName:
                return None
        return Columns(numbering, series, _milliseconds(times), values)

    def _careful(
        self, lines: bytes, now: float, bounds: TimeBounds, numbering: Numbering, rejected: list[Rejected]
    ) -> Columns:
        """Line by line, whatever they are."""
        series: list[int] = []
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
                    known = numbering.paths.get(tokens[0])
                    try:
                        series.append(self._resolve(tokens[0], numbering) if known is None else known)
                    except BadName as problem:
                        rejected.append(Rejected(BAD_NAME, str(problem)))
                        continue
                    times.append(time)
                    values.append(value)
            elif tokens:
                rejected.append(Rejected(BAD_LINE, f"not 'path value time': {_shown(line)}"))
        return _columns(numbering, series, times, values)

    def _resolve(self, path: bytes, numbering: Numbering) -> int:
        """The series of a path met for the first time. Raises `BadName`."""
        try:
            text = path.decode()
        except UnicodeDecodeError:
            raise BadName(f"path is not UTF-8: {_shown(path)}") from None
        series = numbering.paths[path] = numbering.series(*split_path(text, self._templates))
        return series


def _three_tokens_each(lines: bytes, max_line: int) -> bool:
    """Whether every line is three tokens with one space between, and short enough."""
    text = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(text == 0x0A)
    spaces = np.flatnonzero(text == 0x20)
    if len(spaces) != 2 * len(ends):
        return False
    first, second = spaces[0::2], spaces[1::2]
    starts = np.concatenate(([0], ends[:-1] + 1))
    return bool(
        (first > starts).all()
        and (second > first + 1).all()
        and (ends > second + 1).all()
        and (ends - starts).max() <= max_line
        # other white space would be cut at by split()
        and not any(space in lines for space in (b"\t", b"\r", b"\x0b", b"\x0c"))
    )


def _numbers(tokens: list[bytes]) -> NDArray[np.float64] | None:
    """The tokens as floats; None if any is not written as JSON writes a number."""
    text = b",".join(tokens)
    if text.translate(None, _NUMBER_BYTES):
        return None
    try:
        numbers = orjson.loads(b"[" + text + b"]")
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


def _columns(numbering: Numbering, series: list[int], times: list[float], values: list[float]) -> Columns:
    return Columns(
        numbering, np.array(series, np.int64), _milliseconds(np.array(times, np.float64)), np.array(values, np.float64)
    )


def _milliseconds(times: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(times * 1000).astype(np.int64)


def _shown(line: bytes) -> str:
    """A hostile line, safe for a log."""
    return repr(line[:80])[1:]
