"""Tests for `perfmon.services.runs`, with a real store; time is the test's own."""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from perfmon.core.benchmarks import LEAD, LOST_AFTER, Spec
from perfmon.core.loads import BadLoad
from perfmon.core.messages import Cancel, Figures, Kept, OfRuns, Peer, Peers, Progress, Result, Run
from perfmon.core.pairs import COLLECTOR
from perfmon.services.open_run import MAX_FIGURES
from perfmon.services.runs import POLL, Busy, Runs
from perfmon.storage import keys
from perfmon.storage.store import StoreUnavailable
from tests.valkey import StoreCase
from tests.waiting import until

NOW = 1_800_000_000.0
RETENTION = 3_600.0


class Agent:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[OfRuns] = []

    def tell(self, message: OfRuns) -> None:
        self.told.append(message)

    def take(self) -> list[OfRuns]:
        told, self.told = self.told, []
        return told


class Answers:
    """The collector's own end of echo benchmarks, at a port as soon as it is opened."""

    PORT = 5_300

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, spec: Spec, ready: Callable[[int], None]) -> None:
        self.opened.append(spec.id)
        ready(self.PORT)

    def close(self, id: str) -> None:
        if id in self.opened:
            self.opened.remove(id)


class RunsCase(StoreCase):
    """Collectors on one store."""

    async def runs(self) -> Runs:
        """A collector's; all that the test makes share the store and the time."""
        self.clock = getattr(self, "clock", Clock())
        self.answers = getattr(self, "answers", Answers())
        store, now = (await self.connected()).runs, lambda: NOW + self.clock.seconds()
        runs = Runs(store, self.answers, RETENTION, self.clock, now)
        self.addCleanup(runs.stopService)
        runs.startService()
        await self.turn(runs)
        return runs

    async def turn(self, *collectors: Runs) -> None:
        """What each of them does every second."""
        for runs in collectors:
            await until(lambda runs=runs: runs._polls.idle, "the last turn")  # type: ignore[misc]  # mypy infers no lambda with defaults
        self.clock.advance(POLL)
        for runs in collectors:
            await until(lambda runs=runs: runs._polls.idle, "the turn")  # type: ignore[misc]  # mypy infers no lambda with defaults

    async def begin(self, runs: Runs, *hosts: str) -> str:
        return (await runs.begin("cpu", {"seconds": 5}, hosts)).id

    async def told(self, runs: Runs, id: str) -> Any:
        found = await runs.one(id)
        assert found is not None
        return found

    async def end(self, runs: Runs, host: str, agent: Agent, result: Result) -> None:
        """The agent tells it, and it is kept."""
        agent.take()
        runs.said(host, result, agent)
        await until(lambda: Kept(result.run) in agent.told, "it to be kept")


class RunsTests(RunsCase):
    async def test_whole(self) -> None:
        """A run is ordered of the agents that are here, told of as it goes, and over when all have ended."""
        runs, web1, web2 = await self.runs(), Agent(), Agent()
        runs.arrived("web1", web1)
        runs.arrived("web2", web2)
        id = await self.begin(runs, "web1", "web2")
        (order,) = web1.take()
        self.assertEqual(order, Run(id, "cpu", {"seconds": 5}, NOW + self.clock.seconds() + 3, 5.0))
        self.assertEqual(web2.take(), [order])
        runs.said("web1", Progress(id, NOW + 3, {}, 0.5, {"rate": 10.0}), web1)
        told = await self.told(runs, id)
        self.assertEqual((told["state"], told["hosts"]["web1"]["share"]), ("running", 0.5))
        await self.end(runs, "web1", web1, Result(id, "done", "", NOW + 3, {}, {"rate": 20.0}))
        await self.end(runs, "web2", web2, Result(id, "done", "", NOW + 3.5, {}, {"rate": 40.0}))
        told = await self.told(runs, id)
        self.assertEqual((told["state"], told["skew"], told["totals"]["sum"]), ("done", 0.5, 60.0))
        for host, expected in (("", [id]), ("web2", [id]), ("web3", [])):
            self.assertEqual([run["id"] for run in await runs.newest(10, host)], expected)
        runs.arrived("web1", web1)
        self.assertNotIn(order, web1.take())

    async def test_ttl(self) -> None:
        """Every key of a run expires."""
        runs = await self.runs()
        id = await self.begin(runs, "web1")
        for key in (keys.run(id), keys.RUNS, keys.OPEN_RUNS):
            self.assertGreater(self.server("TTL", key), RETENTION - 60, key)

    async def test_reconnect(self) -> None:
        """An agent is given the order on every connection, until it has ended there; its result is kept once."""
        runs, agent = await self.runs(), Agent()
        id = await self.begin(runs, "web1", "web2")
        for _ in range(2):
            runs.arrived("web1", agent)
            self.assertEqual([message.id for message in agent.take() if isinstance(message, Run)], [id])
            runs.gone("web1", agent)
        runs.arrived("web1", agent)
        await self.end(runs, "web1", agent, Result(id, "done", figures={"rate": 1.0}))
        await self.end(runs, "web1", agent, Result(id, "failed", "told once more, and otherwise"))
        self.assertEqual((await self.told(runs, id))["hosts"]["web1"]["state"], "done")
        runs.arrived("web1", agent)
        self.assertEqual([message for message in agent.take() if isinstance(message, Run)], [])

    async def test_begun(self) -> None:
        """An agent that comes back is told whether the run had begun on its host, also by another collector."""
        first, agent = await self.runs(), Agent()
        first.arrived("web1", agent)
        id = await self.begin(first, "web1", "web2")
        first.said("web1", Progress(id), agent)
        first.arrived("web1", agent)
        first.said("web1", Progress(id, NOW + 3), agent)
        first.arrived("web1", agent)
        await self.turn(first)
        (await self.runs()).arrived("web1", agent)
        told = [message.begun for message in agent.take() if isinstance(message, Run)]
        self.assertEqual(told, [False, False, True, True])

    async def test_another_collector(self) -> None:
        """A run that another collector has begun, also before this one was started, is ordered of the agents here."""
        first = await self.runs()
        id = await self.begin(first, "web1", "web2")
        second, here, there = await self.runs(), Agent(), Agent()
        first.arrived("web1", there)
        second.arrived("web2", here)
        self.assertEqual([message.id for message in here.take() if isinstance(message, Run)], [id])
        await self.end(first, "web1", there, Result(id, "done", figures={"rate": 1.0}))
        second.said("web2", Progress(id, NOW + 3, {}, 0.25), here)
        await self.turn(first, second)
        self.assertEqual((await self.told(first, id))["hosts"]["web2"]["share"], 0.25)
        await self.end(second, "web2", here, Result(id, "done", figures={"rate": 2.0}))
        await self.turn(first, second)
        self.assertEqual((await self.told(first, id))["state"], "done")
        self.assertEqual(self.server("ZCARD", keys.OPEN_RUNS), 0)

    async def test_lost(self) -> None:
        """A host that tells nothing of its end is lost when that is long due; the run is partial, and says which."""
        runs, web1, web2 = await self.runs(), Agent(), Agent()
        runs.arrived("web1", web1)
        runs.arrived("web2", web2)
        id = await self.begin(runs, "web1", "web2", "web3")
        await self.end(runs, "web1", web1, Result(id, "done", figures={"rate": 1.0}))
        runs.said("web2", Progress(id, NOW + 3, {}, 0.5, {"rate": 9.0}), web2)
        self.clock.advance(3 + 5 + LOST_AFTER)
        await self.turn(runs)
        told = await self.told(runs, id)
        self.assertEqual((told["state"], told["counts"]), ("partial", {"done": 1, "lost": 2}))
        self.assertEqual(told["hosts"]["web2"]["reason"], "it said nothing of its end")
        self.assertEqual((told["hosts"]["web2"]["share"], told["hosts"]["web2"]["figures"]), (0.5, {"rate": 9.0}))
        self.assertEqual(told["hosts"]["web3"]["reason"], "it was not connected")
        await self.end(runs, "web2", web2, Result(id, "done", figures={"rate": 2.0}))
        self.assertEqual((await self.told(runs, id))["hosts"]["web2"]["state"], "lost")

    async def test_cancel(self) -> None:
        """A run that is cancelled is ended on all hosts, by each collector; who is not there does not hold it up."""
        first, second, web1, web2 = await self.runs(), await self.runs(), Agent(), Agent()
        first.arrived("web1", web1)
        second.arrived("web2", web2)
        id = await self.begin(first, "web1", "web2", "web3")
        await self.turn(first, second)
        web1.take(), web2.take()
        self.assertTrue(await first.cancel(id, "enough"))
        await self.turn(first, second)
        self.assertEqual((web1.take(), web2.take()), ([Cancel(id, "enough")], [Cancel(id, "enough")]))
        for runs, host, agent in ((first, "web1", web1), (second, "web2", web2)):
            await self.end(runs, host, agent, Result(id, "cancelled", "enough"))
        self.clock.advance(20.0)
        await self.turn(first, second)
        told = await self.told(first, id)
        self.assertEqual((told["state"], told["counts"]), ("cancelled", {"cancelled": 3}))
        self.assertFalse(await first.cancel(id, "again"))
        self.assertFalse(await first.cancel("nope", "why not"))

    async def test_busy(self) -> None:
        """A host that has not ended one run is not given another."""
        runs, agent = await self.runs(), Agent()
        runs.arrived("web1", agent)
        id = await self.begin(runs, "web1")
        with self.assertRaisesRegex(Busy, "such as web1"):
            await self.begin(runs, "web1", "web2")
        await self.end(runs, "web1", agent, Result(id, "done"))
        await self.begin(runs, "web1", "web2")

    async def test_bad(self) -> None:
        """What no agent could run is not begun."""
        runs = await self.runs()
        with self.assertRaises(BadLoad):
            await runs.begin("cpu", {"seconds": -1}, ["web1"])
        self.assertEqual(await runs.newest(10), [])

    async def test_store_away(self) -> None:
        """What the store does not take is kept when it is back, also without a new connection."""
        runs, agent = await self.runs(), Agent()
        runs.arrived("web1", agent)
        id = await self.begin(runs, "web1")
        agent.take()
        real = runs._store.note_run

        async def away(id: str, host: str, value: str) -> None:
            raise StoreUnavailable("away")

        self.patch(runs._store, "note_run", away)
        runs.said("web1", Result(id, "done", figures={"rate": 1.0}), agent)
        await until(lambda: runs._unkept, "the attempt")
        self.assertEqual(agent.take(), [])
        self.patch(runs._store, "note_run", real)
        await self.turn(runs)
        self.assertEqual((agent.take(), runs._unkept), ([Kept(id)], {}))
        self.assertEqual((await self.told(runs, id))["state"], "done")

    async def test_too_much(self) -> None:
        """What an agent sends too much of is cut."""
        runs, agent = await self.runs(), Agent()
        runs.arrived("web1", agent)
        id = await self.begin(runs, "web1")
        many: Figures = {f"{number:0200}": "x" * 1_000 for number in range(1_000)}
        await self.end(runs, "web1", agent, Result(id, "failed", "y" * 1_000, figures=many))
        at = (await self.told(runs, id))["hosts"]["web1"]
        self.assertLessEqual(len(at["figures"]), MAX_FIGURES)
        self.assertEqual({len(value) for value in at["figures"].values()}, {200})
        self.assertEqual(len(at["reason"]), 500)

    async def test_strangers(self) -> None:
        """A result of a run that there is not, or that is not the host's, is taken from the agent, and not kept."""
        runs, agent = await self.runs(), Agent()
        runs.arrived("web9", agent)
        id = await self.begin(runs, "web1")
        for run in (id, "nope"):
            await self.end(runs, "web9", agent, Result(run, "done"))
        runs.said("web9", Progress(id, NOW), agent)
        self.assertEqual(list((await self.told(runs, id))["hosts"]), ["web1"])
        self.assertEqual(self.server("EXISTS", keys.run("nope")), 0)


class QueueTests(RunsCase):
    async def waiting(self, runs: Runs, *hosts: str) -> str:
        return (await runs.begin("cpu", {"seconds": 5}, hosts, queue=True)).id

    async def test_in_turn(self) -> None:
        """A run waits for its hosts, in the order of asking, and then begins as any other."""
        runs, agent, other = await self.runs(), Agent(), Agent()
        runs.arrived("web1", agent)
        runs.arrived("web2", other)
        first = await self.begin(runs, "web1")
        agent.take()
        second, third = await self.waiting(runs, "web1", "web2"), await self.waiting(runs, "web2")
        for id in (second, third):  # the third would have its host, but the second was there before
            told = await self.told(runs, id)
            self.assertEqual((told["state"], told["start"]), ("queued", None))
        await self.turn(runs)
        self.assertEqual((agent.take(), other.take()), ([], []))
        await self.end(runs, "web1", agent, Result(first, "done"))
        agent.take()
        await self.turn(runs)
        start = NOW + self.clock.seconds() + LEAD
        self.assertEqual(agent.take(), [Run(second, "cpu", {"seconds": 5}, start, 5.0)])
        self.assertEqual([message.id for message in other.take() if isinstance(message, Run)], [second])
        self.assertEqual((await self.told(runs, second))["start"], start)
        for host, at in (("web1", agent), ("web2", other)):
            await self.end(runs, host, at, Result(second, "done"))
        other.take()
        await self.turn(runs)
        self.assertEqual([message.id for message in other.take() if isinstance(message, Run)], [third])

    async def test_free(self) -> None:
        """Where nobody is busy there is nothing to wait for."""
        runs = await self.runs()
        self.assertEqual((await self.told(runs, await self.waiting(runs, "web1")))["state"], "waiting")

    async def test_another_collector(self) -> None:
        """Of several collectors one begins it, and the others hear of it."""
        first, second, here = await self.runs(), await self.runs(), Agent()
        begun = await self.begin(first, "web1")
        second.arrived("web1", here)
        waiting = await self.waiting(first, "web1")
        await self.turn(first, second)
        await self.end(second, "web1", here, Result(begun, "done"))
        here.take()
        await self.turn(first, second)
        await self.turn(first, second)
        ordered = [message for message in here.take() if isinstance(message, Run)]
        self.assertEqual({(message.id, message.start) for message in ordered}, {(waiting, ordered[0].start)})
        self.assertEqual((await self.told(first, waiting))["start"], ordered[0].start)

    async def test_cancelled(self) -> None:
        """One that waits can be cancelled, and is over at once; nobody hears of it."""
        runs, agent = await self.runs(), Agent()
        runs.arrived("web1", agent)
        await self.begin(runs, "web1")
        agent.take()
        waiting = await self.waiting(runs, "web1")
        await runs.cancel(waiting, "enough")
        await self.turn(runs)
        told = await self.told(runs, waiting)
        self.assertEqual((told["state"], told["hosts"]["web1"]["state"]), ("cancelled", "cancelled"))
        self.assertEqual([message for message in agent.take() if isinstance(message, Run)], [])
        self.assertEqual(self.server("ZCARD", keys.OPEN_RUNS), 1)


class MeetingTests(RunsCase):
    async def test_peers(self) -> None:
        """Hosts are told whom they meet once all are ready, also those of another collector."""
        first, second, here, there = await self.runs(), await self.runs(), Agent(), Agent()
        first.arrived("web1", here)
        second.arrived("web2", there)
        id = (await first.begin("echo", {"seconds": 5, "pairs": "ring"}, ["web1", "web2"])).id
        await self.turn(first, second)
        first.said("web1", Progress(id, expected={"address": "192.0.2.1", "port": 1}), here)
        second.said("web2", Progress(id, expected={"address": "192.0.2.2", "port": 2}), there)
        await self.turn(first, second)  # each writes what it knows, and reads it in the next
        await self.turn(first, second)
        self.assertIn(Peers(id, [Peer("web2", "192.0.2.2", 2)]), here.take())
        self.assertIn(Peers(id, [Peer("web1", "192.0.2.1", 1)]), there.take())

    async def test_collector(self) -> None:
        """Where hosts send to the collector it answers, until the run is over."""
        runs, agent = await self.runs(), Agent()
        runs.arrived("web1", agent)
        id = (await runs.begin("echo", {"seconds": 5}, ["web1"])).id
        self.assertEqual(self.answers.opened, [id])
        self.assertIn(Peers(id, [Peer(COLLECTOR, "", Answers.PORT)]), agent.take())
        await self.end(runs, "web1", agent, Result(id, "done"))
        self.assertEqual(self.answers.opened, [])

    async def test_bad(self) -> None:
        """What cannot be met is not begun."""
        runs = await self.runs()
        with self.assertRaisesRegex(BadLoad, "needs two hosts"):
            await runs.begin("echo", {"pairs": "all"}, ["web1"])
        self.assertEqual(self.server("EXISTS", keys.RUNS), 0)

    async def test_results(self) -> None:
        """Figures of pairs, and what a program wrote, are kept with the run, and as long."""
        runs, agent = await self.runs(), Agent()
        runs.arrived("web1", agent)
        id = await self.begin(runs, "web1", "web2")
        result = Result(id, "done", pairs={"web2": {"mismatches": 1}}, output='{"end": 1}')
        await self.end(runs, "web1", agent, result)
        at = (await self.told(runs, id))["hosts"]["web1"]
        self.assertEqual((at["pairs"], at["output"]), ({"web2": {"mismatches": 1}}, True))
        self.assertEqual(await runs.output(id, "web1"), '{"end": 1}')
        self.assertIsNone(await runs.output(id, "web2"))
        self.assertGreater(self.server("TTL", keys.run_output(id)), RETENTION - 60)
