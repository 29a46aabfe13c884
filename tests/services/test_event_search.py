"""Tests for `perfmon.services.event_search`, with a real store."""

from collections.abc import Awaitable
from typing import Any

from perfmon.core.events import EventQuery
from perfmon.core.presence import State
from perfmon.services import event_search
from perfmon.services.event_search import found_events
from perfmon.storage.store import Store
from tests.valkey import StoreCase

NOW = 1_800_000_000.0


class FoundEventsTests(StoreCase):
    async def happened(self) -> Store:
        """Ten hosts that came, each by itself, and of which every other one departed, all in one event."""
        self.patch(event_search, "_CHUNK", 3)  # so that what is wanted is spread over several
        store = await self.connected()
        for number in range(10):
            await store.sign({f"web{number}": NOW})
            await store.change({f"web{number}": NOW}, State.UP, NOW, "")
        await store.change({f"web{number}": NOW for number in range(0, 10, 2)}, State.DEPARTED, NOW, "timeout")
        return store

    async def found(self, store: Store, limit: int, **wanted: Any) -> list[tuple[str, list[str]]]:
        found: Awaitable[list[dict[str, Any]]] = found_events(store, EventQuery("0", limit, **wanted))
        return [(event["kind"], sorted(event["hosts"])) for event in await found]

    async def test_all(self) -> None:
        """Without a choice they are all there is, up to the limit, from either end."""
        store = await self.happened()
        self.assertEqual(len(await self.found(store, 100)), 11)
        self.assertEqual(await self.found(store, 2), [("up", ["web0"]), ("up", ["web1"])])
        self.assertEqual([kind for kind, _ in await self.found(store, 2, newest=True)], ["departed", "up"])

    async def test_of_hosts(self) -> None:
        """Those of some hosts are found wherever they stand; of an event of many, the hosts that were asked for."""
        store = await self.happened()
        expected = [("up", ["web0"]), ("up", ["web8"]), ("departed", ["web0", "web8"])]
        self.assertEqual(await self.found(store, 100, host="web[08]"), expected)
        self.assertEqual(await self.found(store, 100, host="web[08]", newest=True), expected[::-1])
        self.assertEqual(await self.found(store, 2, host="web[08]"), expected[:2])
        self.assertEqual(await self.found(store, 100, host="db*"), [])

    async def test_of_kinds(self) -> None:
        """Those of some kinds."""
        store = await self.happened()
        (departed,) = await self.found(store, 100, kinds=frozenset({"departed"}))
        self.assertEqual(departed, ("departed", ["web0", "web2", "web4", "web6", "web8"]))

    async def test_until(self) -> None:
        """Those before one that is known: page by page, every event comes once."""
        store = await self.happened()
        known, until = [], ""
        while page := await found_events(store, EventQuery("0", 4, newest=True, until=until)):
            known += [event["id"] for event in page]
            until = page[-1]["id"]
        self.assertEqual(known, [event.id for event in await store.events("0", 100)][::-1])
        self.assertEqual(await self.found(store, 100, until="0-1"), [])
