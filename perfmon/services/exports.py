"""The samples of one host as a file, made while it is read: only a part of it is ever in memory."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import pairwise

from twisted.internet.interfaces import IReactorTime

from perfmon.core.exporting import FORMATS
from perfmon.core.globs import pattern
from perfmon.core.query import Plan, Query, tail
from perfmon.core.reject import MAX_AHEAD
from perfmon.core.series import Series
from perfmon.core.tiers import MS
from perfmon.services.turns import Turns
from perfmon.storage.history import History

# So much text is sent at once.
_CHUNK = 64 << 10  # bytes

# A part of the range is a window, or with a step so many steps, and of so many windows at the most.
_STEPS, _WINDOWS = 1_440, 6


class Exports:
    """Files for the HTTP API. May raise `StoreUnavailable`, `FormatError` and `BadQuery`."""

    def __init__(self, history: History, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self._history = history
        self._clock = clock
        self._wall = wall

    async def export(self, query: Query, form: str) -> AsyncGenerator[bytes, None]:
        """What `query` asks of its one host, in the format `form` (see `FORMATS`).

        Part by part of the range, in each by metric, of each in the order of time.
        """
        now = self._wall()
        end = now + MAX_AHEAD + 1  # further ahead there is nothing
        if query.start < end < query.stop:
            query = replace(query, stop=end)
        plan = Plan.of(query, self._history.tiers, now)
        made = FORMATS[form]
        text = [made.beginning]
        size = len(made.beginning)
        turns = Turns(self._clock)
        wanted = pattern(query.metric)
        before: Series = {}  # where a rate goes on from: the end of the part before
        for place, (low, high) in enumerate(self._parts(plan, now)):
            reading = replace(plan, start=low, stop=high, reads_from=low if place else plan.reads_from)
            # what a rate goes on from may be long before
            part = replace(reading, reads_from=plan.reads_from) if plan.agg == "rate" else reading
            async for _, found in self._history.read([query.host], wanted, reading, now):
                for metric in sorted(found):
                    pieces = [*before.get(metric, []), *found[metric]]
                    text.append(made.lines(metric, part.points(pieces)))
                    size += len(text[-1])
                    if plan.agg == "rate":
                        before[metric] = tail(pieces, high)
                    if size >= _CHUNK:
                        yield b"".join(text)
                        text, size = [], 0
                    await turns.breathe()
        yield b"".join(text)

    def _parts(self, plan: Plan, now: float) -> list[tuple[float, float]]:
        """The parts of the range of `plan` that may have something, one after another: start and stop (s)."""
        length = window = plan.tiers[-1].window * MS
        if plan.step is not None:
            # a multiple of the step, of at least one window, so that few are read twice, and of not many
            step = round(plan.step * MS)
            length = -(-max(window, min(step * _STEPS, _WINDOWS * window)) // step) * step
        at = round(max(plan.start, plan.tiers[-1].oldest(now)) * MS)
        stop = round(min(plan.stop, now + MAX_AHEAD + 1) * MS)
        edges = [at]
        while edges[-1] < stop:
            edges.append(min((edges[-1] // length + 1) * length, round(plan.stop * MS)))
        return [(low / MS, high / MS) for low, high in pairwise(edges)]
