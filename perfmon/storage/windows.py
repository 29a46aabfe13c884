"""Windows as the store keeps them: claimed, taken, sealed, rolled up and read, each in one step of the store."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfmon.core.series import Stored
from perfmon.core.tiers import DAY, MS, Tier, WindowName
from perfmon.storage import keys, scripts
from perfmon.storage.connection import Connection
from perfmon.storage.reading import Reading

# Hosts whose windows are read in one call: the store is busy with one metric of an hour for about 5 us a host.
MAX_HOSTS = 100

# The sets of open windows are renewed with every window that is added; what is in them does not last as long.
OPEN_TTL = 400 * DAY  # s

# Who has just seen that a window is not rolled up yet reads it within this time.
_AFTERLIFE = 60  # s

# Of a window of aggregates: drawn anew with each change, so that nobody writes over what was not seen.
REVISION_FIELD = ";revision"


@dataclass(frozen=True, slots=True)
class Claim:
    """A window of `tier` that lacks something, to be given it by who holds this."""

    tier: Tier
    until: float  # s since the epoch; it is also the proof
    target: WindowName
    parts: list[WindowName]  # what it lacks: windows of the finer tier; of the raw tier the target itself


class Windows:
    """The part of the store that holds samples. All may raise `StoreUnavailable`."""

    def __init__(self, writer: Connection, reader: Connection, tiers: Sequence[Tier]) -> None:
        """`tiers` are all, finest first."""
        self._writer = writer
        self._reader = reader
        self.tiers = tuple(tiers)

    async def claim(self, tier: Tier, now: float, until: float) -> Claim | None:
        """What has been due (at `now`, s) the longest of what `tier` lacks: one of its windows, None if nothing is."""
        finer = self.tiers[max(0, self.tiers.index(tier) - 1)]
        most = 2 * tier.window // finer.window
        members = await self._writer.call(
            "EVAL", scripts.CLAIM, 1, keys.open_windows(tier.name), repr(now), repr(until), most, tier.window
        )
        if not members:
            return None
        pairs = [member.decode().rsplit(" ", 1) for member in members]
        windows = [WindowName(host, finer.name, int(window)) for host, window in pairs]
        target = WindowName(windows[0].host, tier.name, tier.window_of(windows[0].window * MS))
        return Claim(tier, until, target, windows)

    async def postpone(self, claim: Claim, until: float) -> None:
        """What could not be done is due again at `until` (s)."""
        for name in claim.parts:
            await self._writer.call("ZADD", keys.open_windows(claim.tier.name), "XX", repr(until), _member(name))

    async def due(self, tier: Tier, now: float) -> tuple[int, float]:
        """How many windows that `tier` lacks are due at `now` (s), and since when (s since the epoch) the oldest is."""
        key = keys.open_windows(tier.name)
        count = await self._reader.call("ZCOUNT", key, "-inf", repr(now))
        first = await self._reader.call("ZRANGEBYSCORE", key, "-inf", repr(now), "WITHSCORES", "LIMIT", 0, 1)
        return count, float(first[1]) if first else now

    async def take(self, name: WindowName, whole: bool) -> tuple[bytes | None, dict[str, bytes]]:
        """Takes the head of a window to be sealed. Returns it, and the fields of the window if `whole`."""
        head, flat = await self._writer.call(
            "EVAL", scripts.TAKE, 3, keys.sealing(name), keys.head(name), keys.window(name), int(whole)
        )
        return head, _fields(flat)

    async def sealed(
        self,
        claim: Claim,
        fields: Mapping[str, bytes],
        replace: bool,
        again: float,
        next_at: float | None,
        roll_at: float,
    ) -> bool:
        """Puts `fields` into the window in place of the head that was taken; False, and nothing, if the claim is lost.

        They `replace` all of the window's, or are added to them. The window is due to be sealed again at `again` (s)
        if a new head is there, otherwise at `next_at` (None: never); the next tier is to take it at `roll_at`.
        """
        name = claim.target
        following = self.tiers[self.tiers.index(claim.tier) + 1]
        done = await self._writer.call(
            "EVAL",
            scripts.SEALED,
            5,
            keys.open_windows(claim.tier.name),
            keys.sealing(name),
            keys.head(name),
            keys.window(name),
            keys.open_windows(following.name),
            _member(name),
            repr(claim.until),
            repr(again),
            "" if next_at is None else repr(next_at),
            repr(roll_at),
            OPEN_TTL,
            claim.tier.spared_until(name.window),
            int(replace),
            *_flat(fields),
        )
        return bool(done)

    async def fields(self, name: WindowName) -> dict[str, bytes]:
        """All fields of a sealed window."""
        return _fields(await self._reader.call("HGETALL", keys.window(name)))

    async def rolled(self, claim: Claim, fields: Mapping[str, bytes], now: float, revision: bytes = b"") -> bool:
        """Puts `fields` into the claim's target; False, and nothing, if the claim is lost.

        So it is if the target has another `revision` (empty: none) than that from which they were made.

        Without fields nothing is written, for nothing was left of its parts. From now (s) on these live as long as
        their own tier keeps them, and in any case as long as somebody may still look for them.
        """
        target, finer = claim.target, claim.parts
        place = self.tiers.index(claim.tier)
        below = self.tiers[place - 1]
        above = self.tiers[place + 1] if place + 1 < len(self.tiers) else None
        expires_at = claim.tier.expires_at(target.window) if above is None else claim.tier.spared_until(target.window)
        ends = [
            item
            for name in finer
            for item in (_member(name), max(below.expires_at(name.window), int(now) + _AFTERLIFE))
        ]
        done = await self._writer.call(
            "EVAL",
            scripts.ROLLED,
            3 + len(finer),
            keys.open_windows(claim.tier.name),
            keys.window(target),
            keys.open_windows((above or claim.tier).name),
            *[keys.window(name) for name in finer],
            repr(claim.until),
            OPEN_TTL,
            expires_at,
            _member(target),
            "" if above is None else repr(above.roll_at(target.window, now)),
            revision,
            len(finer),
            *ends,
            *(_flat({**fields, REVISION_FIELD: os.urandom(8).hex().encode()}) if fields else ()),
        )
        return bool(done)

    async def read(
        self, hosts: Sequence[str], tiers: Sequence[Tier], start: int, stop: int, now: float, names: Sequence[str] = ()
    ) -> list[list[Stored]]:
        """What there is of `hosts` (at most `MAX_HOSTS`) in start <= time < stop (s), a list for each of them.

        Of each part the coarsest of `tiers` (finest first, from raw on) that has it is read. `names` are metrics,
        without tags for all that have them; none are all.
        """
        return await Reading(self._reader, hosts, tiers, now, names).read(start, stop)


def _member(name: WindowName) -> str:
    return f"{name.host} {name.window}"


def _fields(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[0::2], flat[1::2], strict=True)}


def _flat(fields: Mapping[str, bytes]) -> Iterator[Any]:
    for name, value in fields.items():
        yield name
        yield value
