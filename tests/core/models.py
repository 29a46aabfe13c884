"""What tests of `core` share: samples as lists, and what is made of them one by one."""

from collections.abc import Callable, Generator, Mapping
from itertools import pairwise
from math import fsum, inf
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from perfmon.core.columns import Column
from perfmon.core.query import Points
from perfmon.core.rollups import Rollup

_Result = TypeVar("_Result")

Samples = list[tuple[int, float]]
"""(ms since the epoch, value), times ascending."""


def column(samples: Samples) -> Column:
    return Column(
        np.array([time for time, _ in samples], np.int64), np.array([value for _, value in samples], np.float64)
    )


def pairs(found: Column | Points) -> list[tuple[float, float]]:
    return list(zip(found.times.tolist(), found.values.tolist(), strict=True))


def added(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, bytes]:
    """The fields of a window as the store adds to them."""
    return {name: old.get(name, b"") + new.get(name, b"") for name in {**old, **new}}


def driven(work: Generator[None, None, _Result]) -> tuple[_Result, int]:
    """What `work` returns, and after how many steps."""
    steps = 0
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value, steps
        steps += 1


def done(work: Generator[None, None, _Result]) -> _Result:
    """What `work` returns."""
    return driven(work)[0]


def rises(samples: Samples) -> list[tuple[int, int, float]]:
    """(ms, ms before, what a counter rose by) of each sample but the first."""
    return [(two[0], one[0], two[1] - one[1] if two[1] >= one[1] else two[1]) for one, two in pairwise(samples)]


def rolled_one_by_one(samples: Samples, step_ms: int, part_ms: int = 0) -> dict[int, dict[str, float]]:
    """Start of each step (ms) -> all that `rollups` keeps of it."""
    found: dict[int, dict[str, float]] = {}
    before = None
    for time, value in samples:
        step = found.setdefault(
            time // step_ms * step_ms, {"count": 0.0, "sum": 0.0, "min": inf, "max": -inf, "lost": 0.0}
        )
        step["count"] += 1
        step["sum"] += value
        step["min"] = min(step["min"], value)
        step["max"] = max(step["max"], value)
        step["last"] = value
        step["end"] = float(time)
        if before and value < before[1] and not (part_ms and before[0] // part_ms < time // part_ms):
            step["lost"] += before[1]
        before = time, value
    return found


def parts_one_by_one(samples: Samples, step_ms: int, part_ms: int) -> list[tuple[int, int, float]]:
    """(start of its first step, time and value of its first sample) of each part."""
    firsts: dict[int, tuple[int, int, float]] = {}
    for time, value in samples:
        firsts.setdefault(time // part_ms, (time // step_ms * step_ms, time, value))
    return list(firsts.values())


def steps(rollup: Rollup) -> dict[int, Mapping[str, float]]:
    """A rollup as `rolled_one_by_one` has it; proves on the way that its steps ascend."""
    times = rollup.times.tolist()
    assert times == sorted(set(times)), "steps do not ascend"
    columns = {name: values.tolist() for name, values in rollup.columns.items()}
    assert all(len(values) == len(times) for values in columns.values()), "columns of different lengths"
    return {time: {name: columns[name][place] for name in columns} for place, time in enumerate(times)}


def parts(rollup: Rollup) -> list[tuple[int, int, float]]:
    """The parts of a rollup as `parts_one_by_one` has them."""
    found = rollup.known_parts
    return list(zip(rollup.times[found.starts].tolist(), found.times.tolist(), found.values.tolist(), strict=True))


def times_up_to(last: int, max_size: int = 30) -> st.SearchStrategy[list[int]]:
    return st.sets(st.integers(0, last), min_size=1, max_size=max_size).map(sorted)


@st.composite
def gauges(draw: st.DrawFn, last: int = 20_000, max_size: int = 30) -> Samples:
    """Samples of 0..`last` ms: whole numbers, so that sums are exact in any order."""
    return [(time, float(draw(st.integers(-1000, 1000)))) for time in draw(times_up_to(last, max_size))]


@st.composite
def counters(draw: st.DrawFn, last: int = 20_000, max_size: int = 30) -> Samples:
    """Samples of 0..`last` ms that rise, and begin anew at any place."""
    value = float(draw(st.integers(0, 1000)))
    found = []
    for time in draw(times_up_to(last, max_size)):
        step = draw(st.integers(-2, 60))
        value = value + step if step >= 0 else min(value, float(draw(st.integers(0, 5))))
        found.append((time, value))
    return found


AGGREGATED: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda values: fsum(values) / len(values),
    "min": min,
    "max": max,
    "sum": fsum,
    "count": len,
    "last": lambda values: values[-1],
    "p50": lambda values: float(np.percentile(values, 50)),
    "p95": lambda values: float(np.percentile(values, 95)),
    "p99": lambda values: float(np.percentile(values, 99)),
}


def stepped(samples: Samples, step_ms: int, agg: str) -> dict[float, float]:
    """Start of each step that has something (s) -> its aggregate, sample by sample."""
    found: dict[float, float] = {}
    if agg == "rate":
        counted: dict[int, list[tuple[float, float]]] = {}
        for time, before, rise in rises(samples):
            counted.setdefault(time // step_ms, []).append((rise, (time - before) / 1000))
        for number, each in counted.items():
            found[number * step_ms / 1000] = sum(rise for rise, _ in each) / sum(span for _, span in each)
        return found
    inside: dict[int, list[float]] = {}
    for time, value in samples:
        inside.setdefault(time // step_ms, []).append(value)
    return {number * step_ms / 1000: AGGREGATED[agg](values) for number, values in inside.items()}
