"""Reading windows of many hosts with few questions to the store.

What a coarser tier has (`;fed`) is read from it, the rest from the next one. Which windows it cannot have yet follows
from the time, so these are asked for at once: nearly always one transaction is all there is. Others follow where a
window is missing that should be there, or where a bare name has tags.

A transaction of plain commands costs the store less than half of a script that does the same: a call from a script
takes some 5 us, a command about one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from perfmon.core.chunks import TAGGED_FIELD, TIMES_FIELD
from perfmon.core.sealed import FED_FIELD
from perfmon.core.series import Stored
from perfmon.core.tiers import Tier
from perfmon.storage import keys
from perfmon.storage.connection import Connection

_BESIDE = (TIMES_FIELD, TAGGED_FIELD, FED_FIELD)
_TIMES, _FED = TIMES_FIELD.encode(), FED_FIELD.encode()


@dataclass(slots=True)
class _Ask:
    """One window of one host that is to be read."""

    host: int  # its place among the hosts
    level: int  # of its tier, coarsest first
    window: int
    key: str
    low: int  # what of it is in the range (s)
    high: int
    fields: list[bytes] = field(default_factory=list)
    fed: bytes = b""
    logs: tuple[bytes | None, bytes | None] = (None, None)


class Reading:
    """One answer: what there is of some hosts in a span of time."""

    def __init__(
        self, reader: Connection, hosts: Sequence[str], tiers: Sequence[Tier], now: float, names: Sequence[str]
    ) -> None:
        """`tiers` are finest first; `names` are metrics, without tags for all that have them; none are all."""
        self._reader = reader
        self._hosts = hosts
        self._levels = tuple(reversed(tiers))
        self._now = now
        self._names = [name.encode() for name in names]
        self._bare = [(name, b"\n" + name + b"\n") for name in self._names if b";" not in name]

    async def read(self, start: int, stop: int) -> list[list[Stored]]:
        """What there is in start <= time < stop (s since the epoch), a list for each host.

        In the order of time; a window of a coarser tier comes before those of finer ones within it.
        """
        asked: dict[tuple[int, int, int], _Ask] = {}  # by host, level and window
        pending = [ask for place in range(len(self._hosts)) for ask in self._asks(place, 0, start, stop)]
        while pending:
            asked |= {(ask.host, ask.level, ask.window): ask for ask in pending}
            await self._ask(pending)
            pending = [more for ask in pending for more in self._missing(ask) if _place(more) not in asked]
        found: list[list[Stored]] = [[] for _ in self._hosts]
        for ask in sorted(asked.values(), key=lambda ask: (ask.window, ask.level)):
            if (ask.fields or any(ask.logs)) and not self._fed(asked, ask):
                tier = self._levels[ask.level]
                found[ask.host].append(Stored(tier, ask.window, ask.key, ask.fields, *ask.logs))
        return found

    def _asks(self, host: int, level: int, low: int, high: int) -> Iterator[_Ask]:
        """What to ask for of a span: windows of the tier `level`, and what cannot be in them of the next ones."""
        tier = self._levels[level]
        prefix = keys.windows(self._hosts[host], tier.name)
        last = level + 1 == len(self._levels)
        low = max(low, tier.oldest(self._now))
        for window in range(low - low % tier.window, high, tier.window):
            start, end = max(low, window), min(high, window + tier.window)
            known = end if last else min(end, max(start, tier.fed_until(self._now)))
            if start < known:
                yield _Ask(host, level, window, f"{prefix}{window}", start, end)
            if known < end:
                yield from self._asks(host, level + 1, known, end)

    def _missing(self, ask: _Ask) -> Iterator[_Ask]:
        """What of the span of `ask` is not in its window."""
        if ask.level + 1 == len(self._levels):
            return
        part = self._levels[ask.level + 1].window
        for child in range(ask.low - ask.low % part, ask.high, part):
            if ask.fed[(child - ask.window) // part :][:1] != b"1":
                yield from self._asks(ask.host, ask.level + 1, max(ask.low, child), min(ask.high, child + part))

    def _fed(self, asked: dict[tuple[int, int, int], _Ask], ask: _Ask) -> bool:
        """Whether a coarser tier that was read has the window of `ask`."""
        for level in range(ask.level):
            tier, part = self._levels[level], self._levels[level + 1].window
            above = asked.get((ask.host, level, ask.window - ask.window % tier.window))
            if above is not None and above.fed[(ask.window - above.window) // part :][:1] == b"1":
                return True
        return False

    async def _ask(self, asks: list[_Ask]) -> None:
        """Reads the windows of `asks`, all at one moment."""
        raw = [ask for ask in asks if ask.level + 1 == len(self._levels)]
        commands: list[tuple[Any, ...]] = []
        if raw:
            logs = [f"{ask.key}:{log}" for ask in raw for log in ("sealing", "head")]
            commands.append(("MGET", *logs))
        if self._names:
            commands += [("HMGET", ask.key, *self._names, *_BESIDE) for ask in asks]
        else:
            commands += [("HGETALL", ask.key) for ask in asks]
        replies = await self._reader.transaction(commands)
        if raw:
            logs = replies.pop(0)
            for place, ask in enumerate(raw):
                ask.logs = logs[2 * place], logs[2 * place + 1]
        if not self._names:
            for ask, flat in zip(asks, replies, strict=True):
                ask.fields = flat
                ask.fed = flat[flat.index(_FED) + 1] if _FED in flat else b""
            return
        with_tags = []
        for ask, values in zip(asks, replies, strict=True):
            *chunks, times, tagged, fed = values
            ask.fed = fed or b""
            for name, chunk in zip(self._names, chunks, strict=True):
                if chunk is not None:
                    ask.fields += (name, chunk)
            if tagged and any(line in tagged for _, line in self._bare):
                with_tags.append(ask)
            if times:
                ask.fields += (_TIMES, times)
        if with_tags:
            await self._ask_with_tags(with_tags)

    async def _ask_with_tags(self, asks: list[_Ask]) -> None:
        """Reads the metrics with tags of the bare names too.

        All fields anew, for they have to be of one moment: the window may have been sealed since the first.
        """
        beginnings = tuple(name + b";" for name, _ in self._bare)
        every = await self._reader.transaction([("HKEYS", ask.key) for ask in asks])
        wanted = [[*self._names, *(name for name in names if name.startswith(beginnings)), _TIMES] for names in every]
        commands = [("HMGET", ask.key, *names) for ask, names in zip(asks, wanted, strict=True)]
        replies = await self._reader.transaction(commands)
        for ask, names, values in zip(asks, wanted, replies, strict=True):
            found = dict(zip(names, values, strict=True))
            ask.fields = [word for name, value in found.items() if value is not None for word in (name, value)]


def _place(ask: _Ask) -> tuple[int, int, int]:
    return ask.host, ask.level, ask.window
