"""Tests of what `perfmon.services.ingest` brings into a real store: what is read is what went in."""

import random
import struct
import time

import numpy as np

from perfmon.core.numbering import Columns, Row
from perfmon.core.tiers import RAW
from perfmon.services.ingest import Ingest
from perfmon.storage.store import Store
from tests.programs import STORE_SERVERS
from tests.services.recording import RecordingSender
from tests.storage.samples import Samples, stored
from tests.valkey import StoreCase
from tests.waiting import until

# The last minutes of one window and the first of the next; the server's own clock decides when a key expires.
START = RAW.window_of(int(time.time()) * 1000) - 300


class IngestStoreTests(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.random = random.Random(1)
        self.sender = RecordingSender()
        self.added: Samples = {}
        self.seq = 0

    def ingest_into(self, store: Store) -> Ingest:
        from twisted.internet import reactor

        ingest = Ingest(store, reactor, time.time)
        ingest.startService()
        self.addCleanup(ingest.stopService)
        return ingest

    def add(self, ingest: Ingest, count: int) -> None:
        """Samples of several hosts in two windows, in no order, as rows and as columns."""
        for _ in range(count):
            self.seq += 1
            host = f"web{self.random.randrange(5)}"
            time_ms = START * 1000 + self.seq * 7919 % 600_000  # each time once
            values = {f"m{number}": self.random.random() for number in range(self.random.randrange(1, 8))}
            for metric, value in values.items():
                self.added.setdefault((host, metric), {})[time_ms] = value
            numbering = ingest.numbering
            if self.random.random() < 0.5:
                log, first = numbering.schema(host, list(values))
                packed = struct.pack(f"<{len(values)}d", *values.values())
                ingest.add_row(Row(log, first, time_ms, packed), self.sender, self.seq)
            else:
                series = np.array([numbering.series(host, metric) for metric in values], np.int64)
                times = np.full(len(values), time_ms, np.int64)
                columns = Columns(numbering, series, times, np.array(list(values.values())))
                ingest.add_columns(columns, self.sender, self.seq)

    async def acknowledged(self) -> None:
        """Waits until all that was added is acknowledged."""
        await until(lambda: self.sender.seqs and self.sender.seqs[-1] == self.seq, "the acknowledgement")

    async def stored(self, store: Store) -> Samples:
        """Everything in the store."""
        hosts = [f"web{number}" for number in range(5)]
        return await stored(store.windows, hosts, START, START + 600, time.time())

    async def test_everything(self) -> None:
        """Whatever comes, in whatever commits, is read as it went in."""
        store = await self.connected()
        ingest = self.ingest_into(store)
        for count in (1, 50, 3, 200):
            self.add(ingest, count)
            await self.acknowledged()
        self.assertEqual(await self.stored(store), self.added)
        self.assertEqual((ingest.received, ingest.buffered, ingest.problem), (ingest.stored, 0, None))

    async def test_flushed(self) -> None:
        """A store that is emptied in the middle loses what it had, and can be read as to what comes after."""
        store = await self.connected()
        ingest = self.ingest_into(store)
        for _ in range(3):
            self.add(ingest, 100)
            await self.acknowledged()
            self.server("FLUSHALL")
            self.added.clear()
        self.add(ingest, 100)
        await self.acknowledged()
        self.assertEqual(await self.stored(store), self.added)

    async def test_repeated(self) -> None:
        """Storing samples again changes nothing but their values: those that came last count."""
        store = await self.connected()
        ingest = self.ingest_into(store)
        for _ in range(3):
            self.seq, self.random = 0, random.Random(1)
            self.sender.seqs.clear()
            self.add(ingest, 50)
            await self.acknowledged()
        self.assertEqual(await self.stored(store), self.added)
        host, metric = next(iter(self.added))
        time_ms = next(iter(self.added[host, metric]))
        for value in (7.0, 8.0):
            self.added[host, metric][time_ms] = value
            log, first = ingest.numbering.schema(host, [metric])
            self.seq += 1
            ingest.add_row(Row(log, first, time_ms, struct.pack("<d", value)), self.sender, self.seq)
            await self.acknowledged()
        self.assertEqual(await self.stored(store), self.added)

    async def test_killed(self) -> None:
        """What was acknowledged is there after the server was killed, and so is what came while it was away."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        ingest = self.ingest_into(store)
        self.add(ingest, 100)
        await self.acknowledged()
        self.add(ingest, 50)
        server.kill()
        self.add(ingest, 50)
        await until(lambda: ingest.problem, "the problem")
        server.start()
        await self.acknowledged()
        self.assertEqual(await self.stored(store), self.added)
        self.assertIsNone(ingest.problem)

    async def test_older_state(self) -> None:
        """A server that comes back with less than it had confirmed can be read as to what comes after."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        ingest = self.ingest_into(store)
        store.listen(ingest.store_replaced)

        async def add(second: int, *metrics: str) -> None:
            self.seq += 1
            log, first = ingest.numbering.schema("web0", metrics)
            values = [float(self.seq + number) for number in range(len(metrics))]
            row = Row(log, first, (START + second) * 1000, struct.pack(f"<{len(metrics)}d", *values))
            ingest.add_row(row, self.sender, self.seq)
            await self.acknowledged()
            for metric, value in zip(metrics, values, strict=True):
                self.added.setdefault(("web0", metric), {})[row.time_ms] = value

        await add(1, "m0")
        server("CONFIG", "SET", "appendonly", "no")
        kept = {series: dict(samples) for series, samples in self.added.items()}
        await add(2, "m0", "m1", "m2")
        server.kill()
        await until(lambda: store.problem, "the store to be missed")  # so that no commit fails, which would tell, too
        server.start()
        self.added = kept  # what it had not on disk is gone
        await until(lambda: store.problem is None, "the store to be back")
        await add(3, "m0", "m1", "m2")
        self.assertEqual(await self.stored(store), self.added)

    async def test_full(self) -> None:
        """A full store is a problem of which the samples wait, and nothing of them is lost."""
        store = await self.connected()
        ingest = self.ingest_into(store)
        self.server("CONFIG", "SET", "maxmemory", "1")
        self.add(ingest, 20)
        problem = await until(lambda: ingest.problem, "the problem")
        self.assertIn("OOM", problem)
        self.assertEqual(self.sender.seqs, [])
        self.server("CONFIG", "SET", "maxmemory", "0")
        await self.acknowledged()
        self.assertEqual(await self.stored(store), self.added)


class RedisIngestStoreTests(IngestStoreTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
