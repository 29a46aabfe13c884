"""Reading samples: the windows of a span of time, merged into columns."""

from collections.abc import Callable, Sequence
from typing import Protocol

from perfmon.core.frames import Column, read_head
from perfmon.core.query import between, merged
from perfmon.core.tiers import RAW, HeadName
from perfmon.storage import keys


class Heads(Protocol):
    """The part of the store that reading needs."""

    async def heads(self, names: Sequence[HeadName]) -> list[bytes | None]: ...


class History:
    """What was stored, as columns."""

    def __init__(self, store: Heads) -> None:
        self._store = store

    async def columns(
        self, host: str, start: float, stop: float, wanted: Callable[[str], bool] | None = None
    ) -> dict[str, Column]:
        """The series of `host` with start <= time < stop (s since the epoch) by metric name.

        `wanted` chooses metrics, by default all. Raises `StoreUnavailable`, and `FormatError` for a head that
        this version cannot read.
        """
        windows = RAW.windows(round(start * 1000), round(stop * 1000) - 1)
        names = [HeadName(host, RAW.name, window) for window in windows]
        pieces: dict[str, list[Column]] = {}
        for name, head in zip(names, await self._store.heads(names), strict=True):
            if head is not None:
                for metric, column in read_head(head, name.window, keys.head(name), wanted).items():
                    pieces.setdefault(metric, []).append(column)
        cut = ((metric, between(merged(columns), start, stop)) for metric, columns in pieces.items())
        return {metric: column for metric, column in cut if len(column.times)}
