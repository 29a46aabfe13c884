"""What the senders of ingest.py send, made beforehand. Values differ, so that one in a wrong place is found.

Imported by the others, not run by itself.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from perfmon.core.messages import PROTOCOL, Hello, Metrics, Samples, encode
from perfmon.core.reject import MAX_AHEAD
from perfmon.core.tiers import MS, RAW

# Between two rounds of a host, where so many rounds fit in.
STEP = 10 * MS  # ms

# Rounds may lie this far ahead of the clock: a minute less than what the collector takes.
_AHEAD = round(MAX_AHEAD - 60) * MS  # ms

# Values are 0.25, 1.25 ... below this: as many digits as a real one has.
_VALUES = 1000
_TEXTS = [f"{number}.25" for number in range(_VALUES)]


def moments(rounds: int) -> list[int]:
    """Times (ms since the epoch) of so many rounds, ten seconds apart or as far as fits; all in one hour.

    That of now: a benchmark that begins shortly after the full hour sends rounds that lie ahead a little.
    """
    step = max(1, min(STEP, _AHEAD // rounds))
    now = int(time.time()) // 10 * 10 * MS
    first = max(now - rounds * step, RAW.window_of(now) * MS)
    return [first + number * step for number in range(rounds)]


@dataclass(frozen=True)
class Traffic:
    """Rounds of some hosts, each with the same metrics."""

    hosts: int
    metrics: int
    moments: Sequence[int]  # ms since the epoch, of each round

    @property
    def samples(self) -> int:
        return self.hosts * self.metrics * len(self.moments)

    def host(self, number: int) -> str:
        return f"host{number}"

    @cached_property
    def names(self) -> list[str]:
        """Of the metrics."""
        return [f"group{metric % 10}.metric{metric}" for metric in range(self.metrics)]

    def expected(self, host: int) -> NDArray[np.float64]:
        """What the store must have of a host: metrics x rounds."""
        numbers = self._number(host, np.arange(self.metrics)[:, np.newaxis], np.arange(len(self.moments)))
        return numbers.astype(np.float64) + 0.25

    @staticmethod
    def _number(host: int, metric: NDArray[np.int64], moment: NDArray[np.int64] | int) -> NDArray[np.int64]:
        return (host * 7 + metric * 13 + moment * 3) % _VALUES

    def graphite(self, rounds: range, connections: int) -> list[bytes]:
        """What each connection sends: for each of `rounds` all metrics of its hosts."""
        streams = []
        every = np.arange(self.metrics)
        for connection in range(connections):
            mine = range(connection, self.hosts, connections)
            paths = [f"servers.{self.host(host)}.{name} " for host in mine for name in self.names]
            lines = []
            for number in rounds:
                end = f" {_seconds(self.moments[number])}\n"
                texts = [_TEXTS[value] for host in mine for value in self._number(host, every, number).tolist()]
                lines.append("".join([f"{path}{text}{end}" for path, text in zip(paths, texts, strict=True)]))
            streams.append("".join(lines).encode())
        return streams

    def greeting(self, host: int) -> bytes:
        """An agent's first line. It names one run of the agent, so that a connection may take the place of another."""
        return encode(Hello(PROTOCOL, self.host(host), instance=f"run{host}"))

    @cached_property
    def schema(self) -> bytes:
        """An agent's declaration of its metrics."""
        return encode(Metrics(1, self.names))

    def rounds(self, host: int) -> list[bytes]:
        """An agent's lines, the first with seq 1."""
        empty = b"[]}\n"
        lines = []
        for number, moment in enumerate(self.moments):
            line = encode(Samples(number + 1, 1, moment / MS, []))
            assert line.endswith(empty)
            lines.append(line[: -len(empty)] + self._lists[(host * 7 + number * 3) % _VALUES])
        return lines

    @cached_property
    def _lists(self) -> list[bytes]:
        """The end of a line, by the number of its first value: there are no others."""
        return [
            f"[{','.join([_TEXTS[(first + 13 * metric) % _VALUES] for metric in range(self.metrics)])}]}}\n".encode()
            for first in range(_VALUES)
        ]


def _seconds(milliseconds: int) -> str:
    whole, part = divmod(milliseconds, MS)
    return f"{whole}.{part:03}" if part else str(whole)
