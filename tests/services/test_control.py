"""Tests for `perfmon.services.control`, on a real store."""

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import Clock

from perfmon.core.control import Absence, Order
from perfmon.core.tiers import DAY
from perfmon.services.control import POLL, Control
from perfmon.storage import keys
from perfmon.storage.store import META_TTL, Store, StoreUnavailable
from tests.net.recording import RecordingPresence
from tests.valkey import StoreCase
from tests.waiting import until

NOW = 1_800_000_000.0


class Agent:
    """Does as it is told, and says so."""

    def __init__(self, control: Control, host: str = "web1", stopped: bool = False, interval: float = 10.0) -> None:
        self.orders: list[bool | float] = []
        self._control = control
        self._host = host
        self._sampling = (stopped, interval)
        control.arrived(host, self, stopped, interval)

    def order_stopped(self, stopped: bool) -> None:
        self.orders.append(stopped)
        self._say(stopped, self._sampling[1])

    def order_interval(self, interval: float) -> None:
        self.orders.append(interval)
        self._say(self._sampling[0], interval)

    def _say(self, stopped: bool, interval: float) -> None:
        self._sampling = (stopped, interval)
        self._control.said(self._host, stopped, interval)


class SlowAgent(Agent):
    """Does as it is told, but what it says is still on its way until `arrives`."""

    def __init__(self, control: Control) -> None:
        super().__init__(control)
        self._said: list[tuple[bool, float]] = []

    def _say(self, stopped: bool, interval: float) -> None:
        self._sampling = (stopped, interval)
        self._said.append(self._sampling)

    def arrives(self) -> None:
        said, self._said = self._said, []
        for stopped, interval in said:
            self._control.said(self._host, stopped, interval)


class ControlCase(StoreCase):
    def wall(self) -> float:
        return NOW + self.clock.seconds()

    async def started(self, store: Store | None = None) -> Control:
        """One that knows the orders there are."""
        self.clock, self.records = Clock(), RecordingPresence()
        control = Control(store or await self.connected(), self.records, self.clock, self.wall)
        control.startService()
        self.addCleanup(control.stopService)
        await until(lambda: control._known, "the orders")
        self.clocks = [*getattr(self, "clocks", []), self.clock]
        return control

    async def polled(self, control: Control) -> None:
        """It has looked for new orders."""
        for clock in self.clocks:
            clock.advance(POLL)
        await until(lambda: control._polls.idle, "the orders")


class ControlTests(ControlCase):
    async def test_order(self) -> None:
        """An agent that is here is told at once, once; what it says goes to its host's record."""
        control = await self.started()
        agent, other = Agent(control), Agent(control, "web2")
        self.assertEqual(await control.order("web1", "stopped", "1"), Order(stopped=True))
        self.assertEqual(self.records.described["web1"], {"stopped": "1", "interval": "10.0"})
        self.assertEqual(await control.order("web1", "interval", "2.5"), Order(True, 2.5))
        await control.order("web1", "interval", "2.5")
        await control.order("web1", "stopped", "")
        await self.polled(control)
        self.assertEqual((agent.orders, other.orders), ([True, 2.5, False], []))
        self.assertEqual(self.records.described["web1"], {"stopped": "", "interval": "2.5"})

    async def test_comes_later(self) -> None:
        """An agent that comes, or comes back, is told what it does not do yet."""
        control = await self.started()
        await control.order("web1", "stopped", "1")
        await control.order("web1", "interval", "2.5")
        agent = Agent(control)
        self.assertEqual(agent.orders, [2.5, True])
        control.gone("web1", agent)
        self.assertEqual(Agent(control, stopped=True, interval=2.5).orders, [])
        await control.order("web1", "stopped", "")
        self.assertEqual(agent.orders, [2.5, True], "it has gone")
        self.assertEqual(Agent(control, stopped=True, interval=2.5).orders, [False])

    async def test_before_the_answer(self) -> None:
        """Who changes their mind before the agent has answered is obeyed, and its late answers change nothing."""
        control = await self.started()
        agent = SlowAgent(control)
        for what, value in (("stopped", "1"), ("stopped", ""), ("interval", "2.5"), ("interval", "10.0")):
            await control.order("web1", what, value)
        self.assertEqual(agent.orders, [True, False, 2.5, 10.0])
        agent.arrives()
        await self.polled(control)
        self.assertEqual(agent.orders, [True, False, 2.5, 10.0])
        self.assertEqual(self.records.described["web1"], {"stopped": "", "interval": "10.0"})

    async def test_at_once(self) -> None:
        """Orders of one moment are done in their order, while the orders are being looked at, too."""
        control = await self.started()
        agent = Agent(control)
        self.clock.advance(POLL)
        await gatherResults([ensureDeferred(control.order("web1", "stopped", value)) for value in ("1", "", "1", "")])
        await self.polled(control)
        self.assertEqual(agent.orders, [True, False, True, False])

    async def test_unable(self) -> None:
        """An agent that cannot do what is wanted is not told for ever; one that comes back is told again."""

        class Fixed(Agent):
            def order_interval(self, interval: float) -> None:
                self.orders.append(interval)
                self._say(*self._sampling)

        control = await self.started()
        agent = Fixed(control)
        await control.order("web1", "interval", "2.5")
        for _ in range(3):
            await control.order("web2", "stopped", "1")
            await control.order("web2", "stopped", "")
            await self.polled(control)
        self.assertEqual(agent.orders, [2.5])
        self.assertEqual(self.records.described["web1"]["interval"], "10.0")
        self.assertEqual(Fixed(control).orders, [2.5])

    async def test_another_collector(self) -> None:
        """What another collector was told is seen at the next look, and by one that starts later."""
        one, other = await self.started(), await self.started()
        agent = Agent(other)
        await one.order("web1", "stopped", "1")
        await self.polled(other)
        self.assertEqual(agent.orders, [True])
        await other.order("web1", "interval", "2.5")
        self.assertEqual(await one.order("web1", "stopped", ""), Order(interval=2.5), "also what one was not told")
        third = await self.started()
        self.assertEqual(third.wanted("web1"), Order(interval=2.5))

    async def test_agent_was_first(self) -> None:
        """An agent that came before the orders were known is told when they are, also to begin again."""
        store = await self.connected()
        await store.order("web1", "stopped", "1")
        control = Control(store, RecordingPresence(), Clock(), lambda: NOW)
        agent, other = Agent(control), Agent(control, "web2", stopped=True)
        self.assertEqual(agent.orders, [])
        control.startService()
        self.addCleanup(control.stopService)
        await until(lambda: agent.orders, "the order")
        self.assertEqual((agent.orders, other.orders), ([True], [False]))

    async def test_taken_over(self) -> None:
        """When an agent has come again before its old connection has ended, the new one goes on to be told."""
        control = await self.started()
        old, new = Agent(control), Agent(control)
        control.gone("web1", old)
        await control.order("web1", "stopped", "1")
        self.assertEqual((old.orders, new.orders), ([], [True]))

    async def test_store_away(self) -> None:
        """Without the store nothing is ordered, and what was ordered goes on to hold; then all is as ever."""
        self.server = self.own_server()
        store = await self.connected()
        control = await self.started(store)
        await control.order("web1", "stopped", "1")
        self.server.kill()
        await until(lambda: store.problem, "the store to be missed")
        with self.assertRaises(StoreUnavailable):
            await control.order("web2", "stopped", "1")
        await self.polled(control)
        self.assertEqual(Agent(control).orders, [True])
        self.server.start()
        await until(lambda: store.problem is None, "the store")
        self.assertEqual(await control.order("web2", "stopped", "1"), Order(stopped=True))

    async def test_removed(self) -> None:
        """Of a host that was removed nothing is wanted any more, and of those with like names the same as before."""
        store = await self.connected()
        control = await self.started(store)
        for host in ("web1", "web10"):
            await control.order(host, "stopped", "1")
            await control.order(host, "interval", "5.0")
        await store.remove("web1", NOW)
        await self.polled(control)
        self.assertEqual((control.wanted("web1"), control.wanted("web10")), (Order(), Order(True, 5.0)))
        self.assertEqual(len(self.server("HKEYS", keys.CONTROL)), 3)

    async def test_kept(self) -> None:
        """Orders live as long as what is known of hosts, and are kept anew each day."""
        control = await self.started()
        await control.order("web1", "stopped", "1")
        self.assertGreater(self.server("TTL", keys.CONTROL), META_TTL - 100)
        self.server("EXPIRE", keys.CONTROL, 1_000)
        await self.polled(control)
        self.assertLessEqual(self.server("TTL", keys.CONTROL), 1_000)
        self.clock.advance(DAY)
        await until(lambda: self.server("TTL", keys.CONTROL) > META_TTL - 100, "the orders to be kept anew")

    async def test_flushed(self) -> None:
        """When the store has lost everything, nothing is wanted."""
        control = await self.started()
        agent = Agent(control)
        await control.order("web1", "stopped", "1")
        self.server("FLUSHALL")
        await self.polled(control)
        self.assertEqual(agent.orders, [True, False])

    async def test_flushed_and_ordered(self) -> None:
        """After such a loss a new order is seen by other collectors, though it is the first again."""
        one, other = await self.started(), await self.started()
        agent = Agent(other)
        await one.order("web2", "stopped", "1")
        await self.polled(other)
        self.server("FLUSHALL")
        await one.order("web1", "stopped", "1")
        await self.polled(other)
        self.assertEqual(agent.orders, [True])

    async def test_strange_fields(self) -> None:
        """What no collector can have written spoils nothing else, and reaches no agent."""
        control = await self.started()
        agent = Agent(control)
        strange = ("web1 interval", "0", "web2 interval", "soon", "web3", "x", "web1 stopped", "1")
        self.server("HSET", keys.CONTROL, *strange, ";revision", "7")
        await self.polled(control)
        self.assertEqual(agent.orders, [True])


class AbsenceTests(ControlCase):
    async def test_planned(self) -> None:
        """Who may be absent is told to presence, at once here and with the next look elsewhere."""
        control = await self.started()
        here = self.records
        await self.started(await self.connected())
        there = self.records
        await control.order("web1", "absence", str(Absence(NOW + 60, "new disks")))
        await control.order("web2", "stopped", "1")
        self.assertEqual((here.planned, there.planned), ({"web1": "new disks"}, {}))
        self.clock.advance(POLL)
        await until(lambda: there.planned, "the plan")
        self.assertEqual(there.planned, {"web1": "new disks"})
        await control.order("web1", "absence", "")
        self.assertEqual(here.planned, {})

    async def test_ends(self) -> None:
        """A plan is over at its end, and of no use to anybody after that."""
        control = await self.started()
        await control.order("web1", "absence", str(Absence(NOW + 2.5)))
        await control.order("web2", "absence", str(Absence(NOW + 100)))
        for _ in range(2):
            await self.polled(control)
            self.assertEqual(self.records.planned, {"web1": "", "web2": ""})
        await self.polled(control)
        self.assertEqual((self.records.planned, control.wanted("web1")), ({"web2": ""}, Order()))
        self.assertEqual(self.server("HKEYS", keys.CONTROL), [b";revision", b"web2 absence"])

    async def test_prolonged_elsewhere(self) -> None:
        """Who finds the end of a plan that was just prolonged by another leaves it as it is."""
        control, store = await self.started(), await self.connected()
        await control.order("web1", "absence", str(Absence(NOW + 0.5)))
        await store.order("web1", "absence", str(Absence(NOW + 100, "longer")))
        control._revision = await store.orders_revision()  # it has looked just before that
        await self.polled(control)
        self.assertEqual(control.wanted("web1"), Order(absence=Absence(NOW + 100, "longer")))
        self.assertEqual(self.records.planned, {"web1": "longer"})
