"""The store as the collector uses it: heads appended and read, hosts, transitions and events.

Writes go down one connection and reads down another, so that a large read never stands before a commit.
Every key gets a TTL with its first write; purging is the store's own expiry.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from perfmon.core.frames import head_frame
from perfmon.core.heads import HeadWrite
from perfmon.core.presence import State
from perfmon.core.tiers import DAY, HeadName
from perfmon.storage import keys
from perfmon.storage.connection import Connection, StoreUnavailable

__all__ = ["Event", "HostRecord", "Store", "StoreUnavailable"]

# Hosts and events are kept as long as the coarsest tier keeps samples: 400 d.
META_TTL = 400 * DAY

# Newest events kept; at 200 bytes each that is 20 MB, and years of a calm fleet.
MAX_EVENTS = 100_000

# Keys in one call. The store is busy for about a microsecond a key plus the bytes, and answers nobody meanwhile.
APPEND_CHUNK = 5_000
READ_CHUNK = 64
RECORDS_CHUNK = 1_000
DESCRIBE_CHUNK = 500

# KEYS: heads. ARGV: a head frame, the data of each, then the time at which each expires. A new head begins with the
# frame and gets its TTL; the answer is the identity in the first frame of each.
_APPEND = """
local identities = {}
local n = #KEYS
for i = 1, n do
  local identity = redis.call('GETRANGE', KEYS[i], 12, 19)
  if identity == '' then
    redis.call('SET', KEYS[i], ARGV[1] .. ARGV[i + 1], 'EXAT', ARGV[n + i + 1])
    identity = string.sub(ARGV[1], 13, 20)
  else
    redis.call('APPEND', KEYS[i], ARGV[i + 1])
  end
  identities[i] = identity
end
return identities
"""

# ARGV: state, reason, time (s) of the change, TTL (s), most events, then host and its latest sign (s) in turn.
# A host changes unless it is in that state already; for any state but up it must also be present, with no sign
# after the latest one that the caller knows of. The check, the change and the event are one step, so each change
# is told of once, however many collectors watch. Returns the hosts that changed.
_CHANGE = """
local state, reason, at, ttl, most = unpack(ARGV, 1, 5)
local changed = {}
for i = 6, #ARGV, 2 do
  local host, latest = ARGV[i], tonumber(ARGV[i + 1])
  local meta = 'pm:{' .. host .. '}:meta'
  local sign = redis.call('ZSCORE', 'pm:present', host)
  if redis.call('HGET', meta, 'state') ~= state and (state == 'up' or sign and tonumber(sign) <= latest) then
    redis.call('HSET', meta, 'state', state, 'since', at, 'reason', reason)
    redis.call('EXPIRE', meta, ttl)
    if state ~= 'up' and state ~= 'late' then redis.call('ZREM', 'pm:present', host) end
    changed[#changed + 1] = host
  end
end
if #changed > 0 then
  redis.call('XADD', 'pm:events', 'MAXLEN', '~', most, '*',
    'kind', state, 'hosts', cjson.encode(changed), 'at', at, 'reason', reason)
  redis.call('EXPIRE', 'pm:events', ttl)
end
return changed
"""

# ARGV: hosts. Returns for each: time of its last sign, whether it is present, the fields of its meta hash.
_RECORDS = """
local records = {}
for i = 1, #ARGV do
  local present = redis.call('ZSCORE', 'pm:present', ARGV[i]) and 1 or 0
  local seen = redis.call('ZSCORE', 'pm:hosts', ARGV[i])
  records[i] = {seen, present, redis.call('HGETALL', 'pm:{' .. ARGV[i] .. '}:meta')}
end
return records
"""


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What the store knows of one host beside its samples."""

    host: str
    last_seen: float  # s since the epoch
    present: bool
    meta: dict[str, str]


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
    ) -> None:
        super().__init__()
        self._writer = Connection("store (writing)", endpoint, clock, user, password, database)
        self._reader = Connection("store (reading)", endpoint, clock, user, password, database)
        self._writer.setServiceParent(self)
        self._reader.setServiceParent(self)

    @property
    def problem(self) -> str | None:
        """Why the store cannot be used, None while it can."""
        return self._writer.problem or self._reader.problem

    async def append(self, writes: Sequence[HeadWrite]) -> list[bytes]:
        """Appends to heads; returns the identity of each. Raises `StoreUnavailable`."""
        identities: list[bytes] = []
        for start in range(0, len(writes), APPEND_CHUNK):
            part = writes[start : start + APPEND_CHUNK]
            identities += await self._writer.call(
                "EVAL",
                _APPEND,
                len(part),
                *[keys.head(write.name) for write in part],
                head_frame(os.urandom(8)),
                *[write.data for write in part],
                *[write.expires_at for write in part],
            )
        return identities

    async def heads(self, names: Sequence[HeadName]) -> list[bytes | None]:
        """The bytes of each head, None where there is none. Raises `StoreUnavailable`."""
        heads: list[bytes | None] = []
        for start in range(0, len(names), READ_CHUNK):
            heads += await self._reader.call("MGET", *[keys.head(name) for name in names[start : start + READ_CHUNK]])
        return heads

    async def sign(self, signs: Mapping[str, float]) -> None:
        """Notes when hosts gave their last sign (s since the epoch)."""
        if not signs:
            return
        flat = [item for host, time in signs.items() for item in (repr(time), host)]
        for key in (keys.HOSTS, keys.PRESENT):
            await self._writer.call("ZADD", key, "GT", *flat)
            await self._writer.call("EXPIRE", key, META_TTL)
        await self._writer.call("ZREMRANGEBYSCORE", keys.HOSTS, "-inf", max(signs.values()) - META_TTL)

    async def change(self, latest: Mapping[str, float], state: State, at: float, reason: str = "") -> list[str]:
        """Puts hosts into `state` since `at` (s), and tells of it in one event; returns those that changed.

        `latest` maps each host to its last sign (s) that the caller knows of; one that another collector has
        heard from since then keeps its state.
        """
        flat = [item for host, time in latest.items() for item in (host, repr(time))]
        fixed = (state.value, reason, repr(at), META_TTL, MAX_EVENTS)
        return _text(await self._writer.call("EVAL", _CHANGE, 0, *fixed, *flat))

    async def describe(self, metas: Mapping[str, Mapping[str, str]]) -> None:
        """Sets fields of what is known of hosts."""
        hosts = list(metas)
        for start in range(0, len(hosts), DESCRIBE_CHUNK):
            replies = []
            for host in hosts[start : start + DESCRIBE_CHUNK]:
                fields = [item for field in metas[host].items() for item in field]
                replies.append(self._writer.call("HSET", keys.meta(host), *fields))
                replies.append(self._writer.call("EXPIRE", keys.meta(host), META_TTL))
            await _all(replies)

    async def host_names(self) -> list[str]:
        """All known hosts."""
        return _text(await self._reader.call("ZRANGE", keys.HOSTS, 0, -1))

    async def hosts(self, names: Sequence[str]) -> list[HostRecord]:
        """Records of `names`; unknown ones are left out."""
        records = []
        for start in range(0, len(names), RECORDS_CHUNK):
            part = names[start : start + RECORDS_CHUNK]
            replies = await self._reader.call("EVAL", _RECORDS, 0, *part)
            records += [_record(host, reply) for host, reply in zip(part, replies, strict=True) if reply[0]]
        return records

    async def events(self, since: str, limit: int, newest: bool = False) -> list[Event]:
        """At most `limit` events after `since`, an event's id or ms since the epoch; oldest or newest first."""
        first, last = f"({since}", "+"
        span = ("XREVRANGE", keys.EVENTS, last, first) if newest else ("XRANGE", keys.EVENTS, first, last)
        return [_event(entry) for entry in await self._reader.call(*span, "COUNT", limit)]

    async def information(self) -> dict[str, str]:
        """What the server's INFO says of its version and memory."""
        text = b"".join([await self._reader.call("INFO", section) for section in ("server", "memory")])
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
