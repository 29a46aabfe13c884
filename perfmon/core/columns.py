"""The samples of one series as two arrays, and what is done with them whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Column:
    """All samples of one series in some span: times ascending, without repetition."""

    times: NDArray[np.int64]  # ms since the epoch
    values: NDArray[np.float64]


def tidy(times: NDArray[np.int64], values: NDArray[np.float64]) -> Column:
    """A `Column` from samples in the order they were written: absent ones dropped, sorted, the last of a time wins."""
    absent = np.isnan(values)
    if absent.any():
        times, values = times[~absent], values[~absent]
    return _in_order(times, values)


def _in_order(times: NDArray[np.int64], values: NDArray[np.float64]) -> Column:
    if not (times[1:] > times[:-1]).all():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        last = np.append(times[1:] != times[:-1], True)
        times, values = times[last], values[last]
    return Column(times, values)


def merged(columns: Sequence[Column]) -> Column:
    """One column of several of the same series, given oldest write first: of a repeated time the last one wins."""
    if len(columns) == 1:
        return columns[0]
    if not columns:
        return Column(np.zeros(0, np.int64), np.zeros(0))
    return _in_order(np.concatenate([c.times for c in columns]), np.concatenate([c.values for c in columns]))


def between(column: Column, start: float, stop: float) -> Column:
    """The samples with start <= time < stop (s since the epoch)."""
    low, high = column.times.searchsorted((round(start * 1000), round(stop * 1000))).tolist()
    if low == 0 and high == len(column.times):
        return column
    return Column(column.times[low:high], column.values[low:high])
