"""Tests for `perfmon.storage.store`, on real servers."""

import time

from perfmon.core.frames import head_frame
from perfmon.core.heads import HeadWrite
from perfmon.core.presence import State
from perfmon.core.tiers import RAW, SPARE, WindowName
from perfmon.storage import keys
from perfmon.storage.store import (
    APPEND_CHUNK,
    DESCRIBE_CHUNK,
    MAX_EVENTS,
    META_TTL,
    RECORDS_CHUNK,
    HostRecord,
    StoreUnavailable,
)
from tests.programs import STORE_SERVERS
from tests.storage.samples import head_write
from tests.valkey import StoreCase
from tests.waiting import until

NOW = float(int(time.time()))  # the server's own clock decides when a key expires
WINDOW = RAW.window_of(int(NOW) * 1000)
HOSTS = [f"h{number}" for number in range(1_000)]


def name(host: str, window: int = WINDOW) -> WindowName:
    return WindowName(host, RAW.name, window)


def write(host: str, data: bytes, window: int = WINDOW) -> HeadWrite:
    """An append to the head of `host`."""
    return head_write(name(host, window), data, NOW)


class StoreTests(StoreCase):
    def heads(self, *names: WindowName) -> list[bytes | None]:
        """The heads that are in the store."""
        found: list[bytes | None] = self.server("MGET", *map(keys.head, names))
        return found

    def ttls(self) -> dict[str, int]:
        """The time to live (s) of every key in the store, -1 where there is none."""
        found = self.server("KEYS", "*")
        return {key.decode(): self.server("TTL", key) for key in found}

    async def test_append(self) -> None:
        """A head is its frame and what was appended to it; an append returns the identity of each."""
        store = await self.connected()
        a, b = await store.append([write("a", b"one"), write("b", b"x")])
        self.assertEqual(await store.append([write("b", b"yz"), write("a", b"-two")]), [b, a])
        self.assertEqual(await store.append([]), [])
        heads = self.heads(name("b"), name("c"), name("a"))
        self.assertEqual(heads, [head_frame(b) + b"xyz", None, head_frame(a) + b"one-two"])
        self.server("DEL", keys.head(name("a")))
        (again,) = await store.append([write("a", b"three")])
        self.assertNotEqual(again, a)

    async def test_expected(self) -> None:
        """To a head that is another than the write expects, or is not there, nothing is appended."""
        store = await self.connected()
        (identity,) = await store.append([write("a", b"one")])
        expecting = [
            head_write(name(host), b"two", NOW, expects) for host, expects in (("a", identity), ("b", identity))
        ]
        self.assertEqual(await store.append(expecting), [identity, b""])
        self.assertEqual(await store.append([head_write(name("a"), b"no", NOW, b"8 others")]), [b""])
        self.assertEqual(self.heads(name("a"), name("b")), [head_frame(identity) + b"onetwo", None])
        self.assertEqual(self.server("ZRANGE", keys.open_windows(RAW.name), 0, -1), [f"a {WINDOW}".encode()])

    async def test_due(self) -> None:
        """A new head is among the open windows, due to be sealed; what is due or claimed already stays as it is."""
        store = await self.connected()
        over = WINDOW - RAW.window
        for _ in range(2):
            await store.append([write("a", b"1"), write("b:9", b"1", over), write("b:9", b"2", over)])
            flat = self.server("ZRANGE", keys.open_windows(RAW.name), 0, -1, "WITHSCORES")
            due = {member.decode(): float(time) for member, time in zip(flat[0::2], flat[1::2], strict=True)}
            expected = {f"a {WINDOW}": RAW.seal_at(WINDOW, NOW), f"b:9 {over}": RAW.seal_at(over, NOW)}
            self.assertEqual(due, expected)
            self.assertGreater(self.server("TTL", keys.open_windows(RAW.name)), META_TTL - 60)
            self.server("DEL", keys.head(name("a")))
        self.server("ZADD", keys.open_windows(RAW.name), "7.5", f"a {WINDOW}")
        self.server("DEL", keys.head(name("a")))
        await store.append([write("a", b"1")])
        self.assertEqual(float(self.server("ZSCORE", keys.open_windows(RAW.name), f"a {WINDOW}")), 7.5)

    async def test_windows_are_apart(self) -> None:
        """Each window of a host is a head of its own."""
        store = await self.connected()
        before = WINDOW - RAW.window
        await store.append([write("a", b"now"), write("a", b"before", before)])
        found = self.heads(name("a", before), name("a"))
        self.assertEqual([head and head[20:] for head in found], [b"before", b"now"])

    async def test_binary(self) -> None:
        """Bytes come back as they were, also those that look like numbers."""
        store = await self.connected()
        for data in (b"007", b"1.50", b"-1", b"$5\r\n", bytes(range(256)), b"\0" * 70_000):
            self.server("FLUSHALL")
            for _ in range(2):
                (identity,) = await store.append([write("a", data)])
            self.assertEqual(self.heads(name("a")), [head_frame(identity) + data + data])

    async def test_many(self) -> None:
        """More heads than fit one call are written, in their order."""
        store = await self.connected()
        count = APPEND_CHUNK + 1
        hosts = [f"h{number}" for number in range(count)]
        identities = await store.append([write(host, host.encode()) for host in hosts])
        self.assertEqual(len(identities), count)
        self.assertEqual(self.server("DBSIZE"), count + 1)
        found = self.heads(*map(name, hosts))
        self.assertEqual([head and head[20:] for head in found], [host.encode() for host in hosts])
        self.assertEqual(self.server("ZCARD", keys.open_windows(RAW.name)), count)

    async def test_expiry_of_heads(self) -> None:
        """A head expires when its window has been kept and spared long enough, whatever is appended later."""
        store = await self.connected()
        old = WINDOW - RAW.window
        for data in (b"one", b"two"):
            await store.append([write("a", data), write("a", data, old)])
            for window in (old, WINDOW):
                expires_at = self.server("EXPIRETIME", keys.head(name("a", window)))
                self.assertEqual(expires_at, window + RAW.window + RAW.retention + SPARE)

    async def test_every_key_expires(self) -> None:
        """Whatever is written, every key has a time to live, which each write of hosts and events renews."""
        store = await self.connected()
        for _ in range(2):
            await store.append([write("a", b"one"), write("b", b"two")])
            await store.describe({"a": {"kind": "agent"}, "c": {"kind": "sender"}})
            await store.sign({"a": NOW, "b": NOW})
            await store.change({"a": NOW, "d": NOW}, State.UP, NOW)
            await store.change({"a": NOW}, State.DEPARTED, NOW, "timeout")
            found = self.ttls()
            expected = {keys.head(name(host)) for host in "ab"} | {keys.meta(host) for host in "acd"}
            open_windows = keys.open_windows(RAW.name)
            self.assertEqual(found.keys(), expected | {keys.HOSTS, keys.PRESENT, keys.EVENTS, open_windows})
            for key, left in found.items():
                self.assertGreater(left, 0, key)
            for key in (keys.HOSTS, keys.EVENTS, keys.meta("a"), keys.meta("c")):
                self.assertGreater(found[key], META_TTL - 3600, key)
                self.server("EXPIRE", key, 60)

    async def test_sign(self) -> None:
        """The latest sign of a host counts, in whatever order signs are told of."""
        store = await self.connected()
        await store.sign({"a": NOW, "b": NOW + 0.125})
        await store.sign({"a": NOW - 5, "b": NOW + 7.0625})
        await store.sign({})
        self.assertEqual(
            await store.hosts(["a", "b"]),
            [HostRecord("a", NOW, True, {}), HostRecord("b", NOW + 7.0625, True, {})],
        )
        self.assertEqual(await store.host_names(), ["a", "b"])

    async def test_old_hosts_are_forgotten(self) -> None:
        """A host that gave no sign for as long as anything is kept is known no longer."""
        store = await self.connected()
        await store.sign({"old": NOW - META_TTL - 1, "a": NOW - META_TTL + 60})
        await store.sign({"b": NOW})
        self.assertEqual(await store.host_names(), ["a", "b"])

    async def test_describe(self) -> None:
        """Fields of hosts are set one by one; those that are not named stay."""
        store = await self.connected()
        await store.sign({"a": NOW})
        await store.describe({"a": {"kind": "agent", "labels": '{"rack":"7"}'}, "b": {"kind": "sender"}})
        await store.describe({"a": {"labels": "{}", "note": "grüße\n\x00"}})
        await store.describe({})
        meta = {"kind": "agent", "labels": "{}", "note": "grüße\n\x00"}
        self.assertEqual(await store.hosts(["a", "b", "c"]), [HostRecord("a", NOW, True, meta)])

    async def test_many_hosts(self) -> None:
        """More hosts than fit one call are described and read, in their order."""
        store = await self.connected()
        count = max(RECORDS_CHUNK, DESCRIBE_CHUNK) + 1
        hosts = [f"h{number}" for number in range(count)]
        await store.sign(dict.fromkeys(hosts, NOW))
        await store.describe({host: {"agent": host} for host in hosts})
        records = await store.hosts(hosts)
        self.assertEqual(records, [HostRecord(host, NOW, True, {"agent": host}) for host in hosts])
        self.assertEqual(sorted(await store.host_names()), sorted(hosts))

    async def test_events(self) -> None:
        """Events are read oldest or newest first, so many as are asked for, after an id or after a time."""
        store = await self.connected()
        for number in range(5):
            await store.change({f"h{number}": NOW}, State.UP, NOW + number)
        found = await store.events("0", 10)
        self.assertEqual([event.hosts for event in found], [[f"h{number}"] for number in range(5)])
        self.assertEqual(await store.events("0", 2), found[:2])
        self.assertEqual(await store.events(found[1].id, 2), found[2:4])
        self.assertEqual(await store.events(found[4].id, 10), [])
        self.assertEqual(await store.events("0", 2, newest=True), [found[4], found[3]])
        self.assertEqual(await store.events(found[3].id, 10, newest=True), [found[4]])
        written = int(found[0].id.partition("-")[0])  # ms since the epoch
        self.assertEqual(await store.events(str(written - 1), 10), found)
        self.assertEqual(await store.events(str(int(time.time() * 1000) + 60_000), 10), [])

    async def test_events_are_bounded(self) -> None:
        """The oldest events make room for new ones, so their stream stays bounded."""
        store = await self.connected()
        fill = "for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'kind', 'up') end"
        self.server("EVAL", fill, 1, keys.EVENTS, MAX_EVENTS + 1_000)
        await store.change({"a": NOW}, State.UP, NOW)
        self.assertLess(self.server("XLEN", keys.EVENTS), MAX_EVENTS + 1_000)

    async def test_information(self) -> None:
        """The server's version and memory can be read."""
        information = await (await self.connected()).information()
        self.assertRegex(information["redis_version"], r"\d+\.\d+")
        self.assertGreater(int(information["used_memory"]), 0)

    async def test_away(self) -> None:
        """While the server is away everything fails at once, and nothing of it is done later."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        server.kill()
        await until(lambda: store._writer.problem and store._reader.problem, "the loss")
        for attempt in (
            store.append([write("a", b"lost")]),
            store.sign({"a": NOW}),
            store.describe({"a": {"kind": "agent"}}),
            store.change({"a": NOW}, State.UP, NOW),
            store.windows.claim(RAW, NOW, NOW + 1),
            store.windows.read(["a"], [RAW], WINDOW, WINDOW + 1, NOW),
            store.hosts(["a"]),
            store.host_names(),
            store.events("0", 1),
            store.information(),
        ):
            with self.assertRaises(StoreUnavailable):
                await attempt
        server.start()
        await until(lambda: store.problem is None, "the store to be back")
        self.assertEqual(server("DBSIZE"), 0)
        self.assertEqual(len(await store.append([write("a", b"kept")])), 1)

    async def test_full(self) -> None:
        """A full server refuses writes with its words, loses nothing, and takes them when there is room."""
        store = await self.connected()
        await store.append([write("a", b"kept")])
        self.server("CONFIG", "SET", "maxmemory", "1")
        for attempt in (
            store.append([write("a", b"refused"), write("b", b"refused")]),
            store.sign({"a": NOW}),
            store.describe({"a": {"kind": "agent"}}),
            store.change({"a": NOW}, State.UP, NOW),
        ):
            with self.assertRaises(StoreUnavailable) as caught:
                await attempt
            self.assertIn("OOM", str(caught.exception))
        kept = self.heads(name("a"), name("b"))
        self.assertEqual([head and head[20:] for head in kept], [b"kept", None])
        self.server("CONFIG", "SET", "maxmemory", "0")
        self.assertEqual(len(await store.append([write("a", b"+")])), 1)

    async def test_problem(self) -> None:
        """The problem of a store is that of either of its connections."""
        store = self.new_store()
        self.assertEqual(store.problem, "not connected yet")
        await until(lambda: store.problem is None, "the store")
        self.assertEqual((store._writer.problem, store._reader.problem), (None, None))


class RedisStoreTests(StoreTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
