"""Control: what people want of hosts stands in the store, so that it outlives agents and collectors.

Each collector keeps all of it in memory, and tells its own agents how to sample: when they come, and when it changes.
What another collector was told is seen within `POLL`.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from perfmon.core.control import NO_ORDER, Order, orders_of
from perfmon.core.tiers import DAY
from perfmon.net.seams import Controlled
from perfmon.services.polling import Polling
from perfmon.storage.store import StoreUnavailable

POLL = 1.0  # s


class Orders(Protocol):
    """The part of the store that control needs."""

    async def orders_revision(self) -> str: ...
    async def orders(self) -> tuple[str, dict[str, str]]: ...
    async def order(
        self, host: str, what: str, value: str, expected: str | None = None
    ) -> tuple[str, str, dict[str, str]]: ...


class Presence(Protocol):
    """Is told how hosts sample, and who may be absent."""

    def describe(self, host: str, meta: dict[str, str]) -> None: ...
    def plan(self, absences: Mapping[str, str]) -> None:
        """These hosts, and no others, may be absent; each with the reason."""


class Control(Service):
    """A service: sees to it that the agents here sample as it is wanted, and that absences end."""

    def __init__(self, store: Orders, presence: Presence, clock: IReactorTime, wall: Callable[[], float]) -> None:
        """`wall` gives the time in s since the epoch."""
        self._store = store
        self._presence = presence
        self._wall = wall
        self._orders: dict[str, Order] = {}
        self._known = False  # whether the orders were ever read
        self._revision: str | None = None  # of the orders; None where they have changed beyond what is known here
        self._here: dict[str, Controlled] = {}
        self._told: dict[str, Order] = {}  # how the agents here sample once they have done what they were told
        self._read_at = 0.0
        self._clock = clock
        self._lock = DeferredLock()  # what was read before an order must not come after it
        self._polls = Polling(self._look, POLL, "orders could not be read", clock)

    def startService(self) -> None:
        super().startService()
        self._polls.start()

    def stopService(self) -> None:
        super().stopService()
        self._polls.stop()

    # -- what sessions call

    def arrived(self, host: str, agent: Controlled, stopped: bool, interval: float) -> None:
        """The agent of `host` is here, and samples like that."""
        self._here[host] = agent
        self._told[host] = Order(stopped, interval)
        self.said(host, stopped, interval)
        self._tell(host)

    def said(self, host: str, stopped: bool, interval: float) -> None:
        """The agent says how it samples now. It is told nothing again: it may be unable to do it."""
        self._presence.describe(host, {"stopped": "1" if stopped else "", "interval": repr(interval)})

    def gone(self, host: str, agent: Controlled) -> None:
        if self._here.get(host) is agent:
            del self._here[host], self._told[host]

    # -- what people call

    async def order(self, host: str, what: str, value: str) -> Order:
        """Sets one of `ORDERS`, or takes it back with an empty `value`. Raises `StoreUnavailable`."""
        async with self._lock:
            return await self._set(host, what, value)

    async def _set(self, host: str, what: str, value: str, expected: str | None = None) -> Order:
        before, after, fields = await self._store.order(host, what, value, expected)
        order = self._orders[host] = orders_of(fields).get(host, NO_ORDER)
        # not all of them are read for each: who stops ten thousand hosts would wait for ever
        self._revision = after if before == self._revision else None
        self._tell(host)
        if what == "absence":
            self._plan()
        return order

    def wanted(self, host: str) -> Order:
        """What is wanted of `host`, as far as it is known here."""
        return self._orders.get(host, NO_ORDER)

    # -- the orders

    async def _look(self) -> None:
        try:
            async with self._lock:
                old = self._clock.seconds() - self._read_at > DAY  # reading renews how long they are kept
                if old or self._revision is None or await self._store.orders_revision() != self._revision:
                    await self._read()
                now = self._wall()
                for host, absence in [(host, order.absence) for host, order in self._orders.items()]:
                    if absence is not None and absence.until <= now:
                        await self._set(host, "absence", "", expected=str(absence))
        except StoreUnavailable:
            pass  # the connection has logged it; what is known goes on to count

    async def _read(self) -> None:
        self._revision, fields = await self._store.orders()
        self._orders, self._read_at = orders_of(fields), self._clock.seconds()
        self._known = True
        for host in list(self._here):
            self._tell(host)
        self._plan()

    def _plan(self) -> None:
        absences = {host: order.absence for host, order in self._orders.items()}
        self._presence.plan({host: absence.reason for host, absence in absences.items() if absence is not None})

    def _tell(self, host: str) -> None:
        """Tells the agent what it was not told yet, and does not do."""
        agent = self._here.get(host)
        if agent is None or not self._known:
            return  # those who are here are told when the orders are known
        wanted, told = self.wanted(host), self._told[host]
        interval = told.interval if wanted.interval is None else wanted.interval
        self._told[host] = Order(wanted.stopped, interval)
        if interval is not None and interval != told.interval:
            agent.order_interval(interval)
        if wanted.stopped != told.stopped:
            agent.order_stopped(wanted.stopped)
