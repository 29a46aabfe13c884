"""What tests of `heads` share: collectors that number in their own order, and what should be there after."""

import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from math import isnan, nan

import numpy as np
from hypothesis import strategies as st

from perfmon.core.heads import HeadWrite, encode
from perfmon.core.numbering import Columns, Numbering, Row
from perfmon.core.tiers import WindowName

# Of the windows 0, 3600, 7200 and 10800 the first two are over.
NOW = 8000.0
WINDOW = 7200

# host, metric, ms since the epoch, value
Sample = tuple[str, str, int, float]

# host, ms since the epoch, value of each metric of the schema of that host
Round = tuple[str, int, list[float]]

SCHEMA = ["s.a", "s.b", "m0"]


@dataclass(frozen=True)
class Commit:
    """What one writer stores at once."""

    writer: int
    batches: list[list[Sample]]
    rounds: list[Round]


class Writer:
    """One collector: it numbers hosts and metrics in its own order."""

    def __init__(self, number: int) -> None:
        self.numbering = Numbering(count(number * 1000).__next__)

    def columns(self, samples: Sequence[Sample]) -> Columns:
        return Columns(
            self.numbering,
            np.array([self.numbering.series(host, metric) for host, metric, _, _ in samples], np.int64),
            np.array([time for _, _, time, _ in samples], np.int64),
            np.array([value for _, _, _, value in samples], np.float64),
        )

    def row(self, host: str, time_ms: int, values: Sequence[float], schema: Sequence[str] = SCHEMA) -> Row:
        log, first = self.numbering.schema(host, schema)
        return Row(log, first, time_ms, struct.pack(f"<{len(values)}d", *values))

    def encode(self, commit: Commit, now: float = NOW) -> list[HeadWrite]:
        return encode(map(self.columns, commit.batches), [self.row(*each) for each in commit.rounds], now)


class Model:
    """The same in dictionaries."""

    def __init__(self) -> None:
        self.heads: dict[WindowName, dict[str, dict[int, float]]] = {}

    def store(self, commit: Commit, only: Callable[[WindowName], bool] = lambda name: True) -> None:
        samples = [sample for batch in commit.batches for sample in batch]
        samples += [
            (host, metric, time, value)
            for host, time, values in commit.rounds
            for metric, value in zip(SCHEMA, values, strict=True)
        ]
        for host, metric, time, value in samples:
            name = WindowName(host, "raw", time // 3_600_000 * 3600)
            if only(name):
                series = self.heads.setdefault(name, {})
                if not isnan(value):
                    series.setdefault(metric, {})[time] = value


times = st.builds(
    lambda window, offset: window * 1000 + offset,
    st.sampled_from([0, 3600, 7200, 10_800]),
    st.sampled_from([0, 1, 2, 3_599_999]),
)
hosts = st.sampled_from(["web1", "web2"])
values = st.integers(0, 99).map(float)
samples = st.tuples(hosts, st.sampled_from([f"m{i}" for i in range(6)]), times, values)
rounds = st.tuples(hosts, times, st.lists(values | st.just(nan), min_size=len(SCHEMA), max_size=len(SCHEMA)))


def commits(writers: Collection[int]) -> st.SearchStrategy[Commit]:
    return st.builds(
        Commit,
        st.sampled_from(list(writers)),
        st.lists(st.lists(samples, max_size=5), max_size=3),
        st.lists(rounds, max_size=4),
    )
