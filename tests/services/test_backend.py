"""Tests for `perfmon.services.backend`, with a real store."""

import time
from types import SimpleNamespace
from typing import Any, cast

import orjson

from perfmon.core.events import EventQuery
from perfmon.core.posted import BadBody
from perfmon.core.presence import State, Timeouts
from perfmon.core.query import Query
from perfmon.core.reject import BAD_NAME, FUTURE, Rejected
from perfmon.services import backend as backend_module
from perfmon.services import ingest as ingest_module
from perfmon.services.backend import CollectorBackend
from perfmon.services.control import Control
from perfmon.services.exports import Exports
from perfmon.services.ingest import Ingest
from perfmon.services.live import Live
from perfmon.services.looplag import LoopLag
from perfmon.services.presence import PresenceService
from perfmon.services.queries import Queries
from perfmon.services.refusals import Refusals
from perfmon.services.reports import Reports
from perfmon.services.rightsizing import Rightsizing
from perfmon.services.runs import Runs
from perfmon.services.sealing import Sealing
from perfmon.services.status import Status
from perfmon.storage.history import History
from perfmon.storage.store import Store, StoreUnavailable
from tests.services.no_answers import NoAnswers
from tests.services.test_status import Port
from tests.valkey import StoreCase
from tests.waiting import until

NOW = float(int(time.time()))  # the server's own clock decides when a key expires


class BackendTests(StoreCase):
    def backend(self, store: Store) -> CollectorBackend:
        """A collector around `store`; its presence writes nothing by itself."""
        from twisted.internet import reactor

        def wall() -> float:
            return NOW

        self.ingest = Ingest(store, reactor, wall)
        self.addCleanup(self.ingest.stopService)
        self.presence = PresenceService(store, Timeouts(7.5, 15.0, 300.0), reactor, reactor.seconds, wall)
        self.refusals = Refusals(reactor.seconds)
        lag = LoopLag(reactor, reactor.seconds)
        status = Status(
            store,
            "shown",
            lambda: self.ingest.problem,
            self.ingest,
            Sealing(store.windows, reactor, wall),
            self.presence,
            self.refusals,
            Port(),
            lag,
            reactor,
            reactor.seconds,
        )
        history = History(store.windows)
        control = Control(store, self.presence, reactor, wall)
        queries = Queries(store, history, self.ingest, control.wanted, reactor, wall)
        return CollectorBackend(
            store,
            queries,
            Reports(queries, history, wall),
            Exports(history, reactor, wall),
            status,
            self.ingest,
            self.presence,
            control,
            cast(Live, SimpleNamespace(stream=None)),  # has nothing to do with it
            Runs(store.runs, NoAnswers(), 3_600.0, reactor, wall),
            Rightsizing(queries, history, store.runs, store.notes, None, reactor, wall),
            self.refusals,
            reactor,
            wall,
        )

    def body(self, *samples: dict[str, Any], **others: Any) -> bytes:
        return orjson.dumps({"samples": list(samples), **others})

    async def test_post(self) -> None:
        """Posted samples can be read once the answer is there; each of their hosts has given a sign."""
        backend = self.backend(await self.connected())
        answer = await backend.post(
            self.body(
                {"metric": "queue", "value": 1.5},
                {"metric": "queue", "value": 2, "time": NOW - 10},
                {"metric": "queue", "value": 3, "host": "mail2"},
                host="mail1",
            )
        )
        self.assertEqual(answer, (3, {}))
        found = await backend.query(Query("mail*", "*", NOW - 60, NOW + 1, None))
        self.assertEqual(
            [(one["host"], one["times"].tolist(), one["values"].tolist()) for one in found["series"]],
            [("mail1", [NOW - 10, NOW], [2.0, 1.5]), ("mail2", [NOW], [3.0])],
        )
        self.assertEqual(self.presence.count(), {"up": 2})
        described = {host: meta["kind"] for host, meta in self.presence._described.items()}
        self.assertEqual(described, {"mail1": "sender", "mail2": "sender"})

    async def test_partly_refused(self) -> None:
        """What cannot be stored is told by its place and counted; the rest is stored."""
        backend = self.backend(await self.connected())
        stored, refused = await backend.post(
            self.body(
                {"metric": "a b", "value": 1},
                {"metric": "c", "value": 2},
                {"metric": "c", "value": 1, "time": NOW + 601},
                host="h",
            )
        )
        self.assertEqual(stored, 1)
        self.assertEqual({place: one.reason for place, one in refused.items()}, {0: BAD_NAME, 2: FUTURE})
        self.assertEqual(self.refusals.counts, {BAD_NAME: 1, FUTURE: 1})

    async def test_nothing(self) -> None:
        """A post without samples is answered, and is no sign of anybody."""
        backend = self.backend(await self.connected())
        self.assertEqual(await backend.post(self.body()), (0, {}))
        stored, refused = await backend.post(self.body({"metric": "", "value": 1}, host="h"))
        self.assertEqual((stored, list(refused)), (0, [0]))
        self.assertEqual(self.presence.count(), {})

    async def test_bad_body(self) -> None:
        """A body that makes no sense is refused as a whole."""
        backend = self.backend(await self.connected())
        with self.assertRaises(BadBody):
            await backend.post(b"queue 1")

    async def test_store_away(self) -> None:
        """A post that is not confirmed in time says so; it does no harm to send it again."""
        self.patch(backend_module, "POST_TIMEOUT", 0.2)
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        backend = self.backend(store)
        server("CONFIG", "SET", "maxmemory", "1")
        with self.assertRaises(StoreUnavailable) as caught:
            await backend.post(self.body({"metric": "a", "value": 1}, host="h"))
        self.assertIn("not confirmed; sending them again later does no harm", str(caught.exception))
        self.assertIn("OOM", str(backend.problem))
        self.assertEqual(self.presence.count(), {})
        server("CONFIG", "SET", "maxmemory", "0")
        self.patch(backend_module, "POST_TIMEOUT", 10.0)
        self.assertEqual(await backend.post(self.body({"metric": "a", "value": 1}, host="h")), (1, {}))
        self.assertIsNone(backend.problem)

    async def test_too_much_waits(self) -> None:
        """While the senders are paused a post is not even taken in, so that posts cannot fill the memory."""
        backend = self.backend(await self.connected())
        self.patch(ingest_module, "HIGH_WATER", 0)
        self.patch(ingest_module, "LOW_WATER", 1)
        self.server("CONFIG", "SET", "maxmemory", "1")
        self.patch(backend_module, "POST_TIMEOUT", 0.05)
        for _ in range(2):
            with self.assertRaises(StoreUnavailable):
                await backend.post(self.body({"metric": "a", "value": 1}, host="h"))
        self.assertEqual(self.ingest.received, 1)
        self.server("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: not self.ingest.paused, "the store")
        self.patch(backend_module, "POST_TIMEOUT", 10.0)
        await backend.post(self.body({"metric": "a", "value": 1}, host="h"))

    async def test_events(self) -> None:
        """Events are told as they are stored."""
        store = await self.connected()
        backend = self.backend(store)
        await store.change({"web1": NOW}, State.UP, NOW, "")
        (event,) = await backend.events(EventQuery("0", 10))
        self.assertEqual(event.pop("id"), (await store.events("0", 1))[0].id)
        self.assertEqual(event, {"kind": "up", "hosts": ["web1"], "at": NOW, "reason": ""})
        await store.change({"web2": NOW}, State.UP, NOW, "")
        self.assertEqual(
            [event["hosts"] for event in await backend.events(EventQuery("0", 1, newest=True))], [["web2"]]
        )

    async def test_report(self) -> None:
        """The report is the status'."""
        backend = self.backend(await self.connected())
        self.refusals.note([Rejected(FUTURE, "x")], "peer")
        self.assertEqual((await backend.report())["samples"]["rejected"], 1)
        self.assertEqual(await backend.hosts("*", "*"), [])
