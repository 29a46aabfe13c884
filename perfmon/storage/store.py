"""The store as the collector uses it: heads appended to, windows, hosts, transitions and events.

Writes go down one connection and reads down another, so that a large read never stands before a commit.
Every key gets a TTL with its first write; purging is the store's own expiry.
"""

import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from perfmon.core.control import ORDERS
from perfmon.core.frames import head_frame
from perfmon.core.heads import HeadWrite
from perfmon.core.presence import State
from perfmon.core.tiers import DAY, TIERS, Tier
from perfmon.storage import keys, scripts
from perfmon.storage.connection import Connection, StoreUnavailable
from perfmon.storage.notes import NoteKeys
from perfmon.storage.runs import RunKeys
from perfmon.storage.windows import REVISION_FIELD, Windows

__all__ = ["Event", "HostRecord", "Store", "StoreUnavailable"]

# Hosts and events are kept as long as the coarsest tier keeps samples, and at least so long.
META_TTL = 400 * DAY

# Newest events kept; at 200 bytes each that is 20 MB, and years of a calm fleet.
MAX_EVENTS = 100_000

# Keys in one call. The store is busy for about a microsecond a key plus the bytes, and answers nobody meanwhile.
APPEND_CHUNK = 5_000
RECORDS_CHUNK = 1_000
DESCRIBE_CHUNK = 500
SCAN_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What the store knows of one host beside its samples."""

    host: str
    last_seen: float  # s since the epoch
    present: bool
    meta: dict[str, str]

    @property
    def state(self) -> State:
        return State(self.meta.get("state", State.UP))

    @property
    def collector(self) -> str:
        """Which one watches it, empty where none does."""
        return self.meta.get("collector", "")


@dataclass(frozen=True, slots=True)
class Leases:
    """Which collectors there are. Times are in s, by the store's clock."""

    before: float | None  # when the own one was renewed the last time, None: it was not there
    now: float
    epoch: str  # of the data
    others: dict[str, float]  # collector -> when it was renewed


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to hosts: one entry, also when it happened to many at once."""

    kind: str
    hosts: list[str]
    at: float  # s since the epoch
    reason: str = ""
    id: str = ""  # given by the store; rises with time


class Store(MultiService):
    """A service: connected to the store while it runs."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        user: str = "",
        password: str = "",
        database: int = 0,
        tiers: Sequence[Tier] = TIERS,
        collector: str = "collector",
    ) -> None:
        """`collector` is the name that this collector has among those that use the store."""
        super().__init__()
        self.collector = collector
        self._listeners: list[Callable[[], None]] = []
        self._writer = Connection("store (writing)", endpoint, clock, user, password, database, self._replaced)
        self._reader = Connection("store (reading)", endpoint, clock, user, password, database)
        self._writer.setServiceParent(self)
        self._reader.setServiceParent(self)
        self.windows = Windows(self._writer, self._reader, tiers)
        self.runs = RunKeys(self._writer, self._reader)
        self._ttl = max(META_TTL, *(tier.retention for tier in tiers))  # s, of what is known of hosts
        self.notes = NoteKeys(self._writer, self._reader, self._ttl)

    def listen(self, replaced: Callable[[], None]) -> None:
        """`replaced` is called before anything is written to a server that may have an older state than the last."""
        self._listeners.append(replaced)

    def _replaced(self) -> None:
        for listener in self._listeners:
            listener()

    @property
    def problem(self) -> str | None:
        """Why the store cannot be used, None while it can."""
        return self._writer.problem or self._reader.problem

    async def append(self, writes: Sequence[HeadWrite]) -> list[bytes]:
        """Appends to heads; returns the identity of each, empty where it is another one than the write expects.

        To such a head nothing was appended. Raises `StoreUnavailable`.
        """
        identities: list[bytes] = []
        for start in range(0, len(writes), APPEND_CHUNK):
            part = writes[start : start + APPEND_CHUNK]
            identities += await self._writer.call(
                "EVAL",
                scripts.APPEND,
                len(part),
                *[keys.head(write.name) for write in part],
                META_TTL,
                head_frame(os.urandom(8)),
                *[write.data for write in part],
                *[write.expects for write in part],
                *[write.expires_at for write in part],
                *[repr(write.seal_at) for write in part],
            )
        return identities

    async def sign(self, signs: Mapping[str, float]) -> None:
        """Notes when hosts gave their last sign (s since the epoch)."""
        if not signs:
            return
        flat = [item for host, time in signs.items() for item in (repr(time), host)]
        for key in (keys.HOSTS, keys.PRESENT):
            await self._writer.call("ZADD", key, "GT", *flat)
            await self._writer.call("EXPIRE", key, self._ttl)
        await self._writer.call("ZREMRANGEBYSCORE", keys.HOSTS, "-inf", max(signs.values()) - self._ttl)

    async def change(
        self,
        latest: Mapping[str, float],
        state: State,
        at: float,
        reason: str = "",
        boots: Mapping[str, str] = MappingProxyType({}),
    ) -> list[str]:
        """Puts hosts into `state` since `at` (s), and tells of it in one event; returns those that changed.

        `latest` maps each host to its last sign (s) that the caller knows of. One that another collector watches, or
        has heard from since then, keeps its state. Those that are up are watched by this collector from now on; one
        with another id in `boots` than the last has an event of its own, with the reason ``reboot``.
        """
        flat = [item for host, time in latest.items() for item in (host, repr(time), boots.get(host, ""))]
        fixed = (self.collector, state.value, reason, repr(at), self._ttl, MAX_EVENTS)
        return _text(await self._writer.call("EVAL", scripts.CHANGE, 0, *fixed, *flat))

    async def renew(self) -> Leases:
        """This collector is there; who else is."""
        before, now, epoch, flat = await self._writer.call(
            *("EVAL", scripts.RENEW, 2, keys.COLLECTORS, keys.EPOCH, self.collector, self._ttl, os.urandom(8).hex())
        )
        leases = dict(zip(_text(flat[0::2]), map(float, flat[1::2]), strict=True))
        leases.pop(self.collector)
        return Leases(float(before) if before else None, float(now), epoch.decode(), leases)

    async def release(self, time: float) -> None:
        """This collector goes: its lease counts as one that was renewed for the last time at `time` (s)."""
        await self._writer.call("ZADD", keys.COLLECTORS, "XX", repr(time), self.collector)

    async def take_over(self, watched: Mapping[str, str], before: float) -> list[str]:
        """Has hosts watched by this collector; `watched` maps each to the one that did so up to now.

        Returns those that are there, and whose collector has not renewed its lease since `before` (s).
        """
        taken: list[str] = []
        pairs = list(watched.items())
        for start in range(0, len(pairs), RECORDS_CHUNK):
            flat = [item for pair in pairs[start : start + RECORDS_CHUNK] for item in pair]
            taken += _text(
                await self._writer.call(
                    "EVAL", scripts.TAKE_OVER, 1, keys.COLLECTORS, self.collector, repr(before), *flat
                )
            )
        return taken

    async def drop_leases(self, collectors: Collection[str]) -> None:
        """These collectors are gone for good; one that is not finds out when it renews its lease."""
        if collectors:
            await self._writer.call("ZREM", keys.COLLECTORS, *collectors)

    async def keep_gap(self, host: str, gap: int, at: float, reason: str) -> bool:
        """Tells of the gap of this id in an event, once; returns whether it was new."""
        arguments = (gap, host, repr(at), reason, self._ttl, MAX_EVENTS)
        return bool(await self._writer.call("EVAL", scripts.GAP, 2, keys.meta(host), keys.EVENTS, *arguments))

    async def describe(self, metas: Mapping[str, Mapping[str, str]]) -> None:
        """Sets fields of what is known of hosts."""
        hosts = list(metas)
        for start in range(0, len(hosts), DESCRIBE_CHUNK):
            replies = []
            for host in hosts[start : start + DESCRIBE_CHUNK]:
                fields = [item for field in metas[host].items() for item in field]
                replies.append(self._writer.call("HSET", keys.meta(host), *fields))
                replies.append(self._writer.call("EXPIRE", keys.meta(host), self._ttl))
            await _all(replies)

    async def order(
        self, host: str, what: str, value: str, expected: str | None = None
    ) -> tuple[str, str, dict[str, str]]:
        """Keeps what is wanted of `host`; an empty value takes it back. Another than the `expected` one stays.

        Returns the revision of the orders before and after, and ``HOST WHAT`` to all that is wanted of this host.
        """
        fields = [f"{host} {each}" for each in ORDERS]
        change = (f"{host} {what}", int(expected is not None), expected or "", value)
        before, after, values = await self._writer.call(
            "EVAL", scripts.REVISE, 1, keys.CONTROL, self._ttl, os.urandom(8).hex(), *change, *fields
        )
        wanted = {field: text.decode() for field, text in zip(fields, values, strict=True) if text is not None}
        return before.decode(), after.decode(), wanted

    async def orders_revision(self) -> str:
        """Changes whenever the orders do, and is never one that was; empty without any."""
        revision: bytes | None = await self._reader.call("HGET", keys.CONTROL, REVISION_FIELD)
        return (revision or b"").decode()

    async def orders(self) -> tuple[str, dict[str, str]]:
        """The revision, and ``HOST WHAT`` to the value that is wanted. They are kept anew from now on."""
        flat = _text(await self._reader.call("HGETALL", keys.CONTROL))
        await self._writer.call("EXPIRE", keys.CONTROL, self._ttl)
        fields = dict(zip(flat[0::2], flat[1::2], strict=True))
        return fields.pop(REVISION_FIELD, ""), fields

    async def host_names(self) -> list[str]:
        """All known hosts."""
        return _text(await self._reader.call("ZRANGE", keys.HOSTS, 0, -1))

    async def hosts(self, names: Sequence[str]) -> list[HostRecord]:
        """Records of `names`; unknown ones are left out."""
        records = []
        for start in range(0, len(names), RECORDS_CHUNK):
            part = names[start : start + RECORDS_CHUNK]
            replies = await self._reader.call("EVAL", scripts.RECORDS, 0, *part)
            records += [_record(host, reply) for host, reply in zip(part, replies, strict=True) if reply[0]]
        return records

    async def remove(self, host: str, at: float) -> int:
        """Removes `host` with all of its keys at `at` (s), and tells of it; returns how many there were."""
        # Its open windows first: a sealer that has one of them under way has then lost its claim.
        for tier in self.windows.tiers:
            key = keys.open_windows(tier.name)
            async for flat in self._scanned("ZSCAN", key, match=f"{host} *"):
                await self._writer.call("ZREM", key, *flat[0::2])
        for key in (keys.HOSTS, keys.PRESENT):
            await self._writer.call("ZREM", key, host)
        for what in ORDERS:
            await self.order(host, what, "")
        removed = 0
        async for found in self._scanned("SCAN", match=keys.of_host(host)):
            removed += await self._writer.call("UNLINK", *found)
        if not removed:
            return 0
        fields = ("kind", "removed", "hosts", orjson.dumps([host]).decode(), "at", repr(at), "reason", "")
        await self._writer.call("XADD", keys.EVENTS, "MAXLEN", "~", MAX_EVENTS, "*", *fields)
        await self._writer.call("EXPIRE", keys.EVENTS, self._ttl)
        return removed

    async def _scanned(self, *command: str, match: str) -> AsyncIterator[list[bytes]]:
        """What a scan finds, without what it does not, some at a time."""
        cursor = b"0"
        while True:
            cursor, found = await self._writer.call(*command, cursor, "MATCH", match, "COUNT", SCAN_CHUNK)
            if found:
                yield found
            if cursor == b"0":
                return

    async def events(self, since: str, limit: int, newest: bool = False, until: str = "") -> list[Event]:
        """At most `limit` events after `since` and before `until`; oldest or newest first.

        Both are an event's id or ms since the epoch; without `until` it is up to now.
        """
        first, last = f"({since}", f"({until}" if until else "+"
        span = ("XREVRANGE", keys.EVENTS, last, first) if newest else ("XRANGE", keys.EVENTS, first, last)
        return [_event(entry) for entry in await self._reader.call(*span, "COUNT", limit)]

    async def information(self) -> dict[str, str]:
        """What the server's INFO says of its version, its memory and its files."""
        text = b"".join([await self._reader.call("INFO", section) for section in ("server", "memory", "persistence")])
        return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


async def _all(replies: list[Deferred[Any]]) -> None:
    """Waits for all; raises `StoreUnavailable` if any of them failed."""
    try:
        await gatherResults(replies, consumeErrors=True)
    except FirstError as first:
        first.subFailure.raiseException()


def _text(items: Iterable[bytes]) -> list[str]:
    return [item.decode() for item in items]


def _event(entry: Any) -> Event:
    added, flat = entry
    fields = dict(zip(flat[0::2], flat[1::2], strict=True))
    return Event(
        fields[b"kind"].decode(),
        orjson.loads(fields[b"hosts"]),
        float(fields[b"at"]),
        fields[b"reason"].decode(),
        added.decode(),
    )


def _record(host: str, reply: list[Any]) -> HostRecord:
    seen, present, flat = reply
    fields = _text(flat)
    return HostRecord(host, float(seen), bool(present), dict(zip(fields[0::2], fields[1::2], strict=True)))
