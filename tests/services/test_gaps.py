"""Tests for `perfmon.services.gaps`, on a real store."""

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.messages import Gap
from perfmon.services import gaps as gaps_module
from perfmon.services.gaps import MAX_REASON, Gaps, told
from perfmon.storage import keys
from perfmon.storage.store import META_TTL, Store
from tests.logs import logged
from tests.valkey import StoreCase
from tests.waiting import until

NOW = 1_800_000_000.0
TOLD = "3 rounds of 2027-01-15T08:00:00Z to 2027-01-15T08:00:10Z: no room"


def gap(id: int) -> Gap:
    return Gap(id, 3, NOW, NOW + 10, "no room")


class GapsTests(StoreCase):
    async def started(self) -> tuple[Gaps, Store]:
        store = await self.connected()
        self.patch(gaps_module, "_AGAIN", 0.05)
        gaps = Gaps(store, reactor, lambda: NOW)
        gaps.startService()
        self.addCleanup(gaps.stopService)
        self.noted: list[int] = []
        return gaps, store

    def note(self, gaps: Gaps, id: int, host: str = "web1") -> None:
        gaps.note(host, gap(id), lambda: self.noted.append(id))

    async def events(self, store: Store) -> list[tuple[str, list[str], float, str]]:
        return [(event.kind, event.hosts, event.at, event.reason) for event in await store.events("0", 100)]

    async def test_event(self) -> None:
        """A gap is an event and a line in the log; then the agent is told."""
        gaps, store = await self.started()
        with logged() as log:
            self.note(gaps, 7)
            await until(lambda: self.noted, "the gap to be noted")
        self.assertEqual(await self.events(store), [("gap", ["web1"], NOW, TOLD)])
        self.assertEqual(log.warnings, [f"web1 has lost {TOLD}"])
        self.assertLessEqual(self.server("TTL", keys.EVENTS), META_TTL)
        self.assertGreater(self.server("TTL", keys.meta("web1")), 0)

    async def test_once(self) -> None:
        """An agent that tells of it again, to whatever collector, is told again that it is kept; there is one event."""
        gaps, store = await self.started()
        other = Gaps(store, reactor, lambda: NOW)
        for each, id in ((gaps, 7), (other, 7), (gaps, 8)):
            self.noted.clear()
            self.note(each, id)
            await until(lambda: self.noted, "the gap to be noted")
        self.assertEqual(len(await self.events(store)), 2)

    async def test_store_away(self) -> None:
        """While the store is away nothing is confirmed; once it is back the gap is kept."""
        self.server = self.own_server()
        gaps, store = await self.started()
        self.server.kill()
        await until(lambda: store.problem, "the store to be missed")
        self.note(gaps, 7)
        self.note(gaps, 7, "web2")
        self.assertEqual(self.noted, [])
        self.server.start()
        await until(lambda: len(self.noted) == 2 and store.problem is None, "the gaps to be noted")
        self.assertEqual(len(await self.events(store)), 2)


class WordsTests(SynchronousTestCase):
    def test_strange(self) -> None:
        """Whatever an agent says becomes a short line."""
        text = told(Gap(1, 2, 1e300, float("inf"), "a\nb" + "x" * 1_000))
        self.assertTrue(text.startswith("2 rounds of 1e+300 to inf: ab"))
        self.assertLess(len(text), MAX_REASON + 50)
