"""Control of sampling: what people want stands in the store, so that it outlives agents and collectors.

Each collector keeps all of it in memory, and tells its own agents: when they come, and when it changes. What another
collector was told is seen within `POLL`.
"""

from collections.abc import Mapping
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.control import NO_ORDER, Order, orders_of
from perfmon.core.tiers import DAY
from perfmon.net.seams import Controlled
from perfmon.storage.store import StoreUnavailable

POLL = 1.0  # s


class Orders(Protocol):
    """The part of the store that control needs."""

    async def orders_revision(self) -> int: ...
    async def orders(self) -> tuple[int, dict[str, str]]: ...
    async def order(self, host: str, what: str, value: str) -> None: ...


class Records(Protocol):
    """Where it is kept how hosts sample."""

    def describe(self, host: str, meta: dict[str, str]) -> None: ...


class Control(Service):
    """A service: sees to it that the agents here sample as it is wanted."""

    _log = Logger()

    def __init__(self, store: Orders, records: Records, clock: IReactorTime) -> None:
        self._store = store
        self._records = records
        self._orders: Mapping[str, Order] = {}
        self._revision = -1  # of the orders; none is -1
        self._here: dict[str, Controlled] = {}
        self._sampling: dict[str, Order] = {}  # as the agents here say
        self._read_at = 0.0
        self._clock = clock
        self._reading: Deferred[None] | None = None
        self._polls = LoopingCall(self._poll)
        self._polls.clock = clock

    def startService(self) -> None:
        super().startService()
        self._polls.start(POLL)

    def stopService(self) -> None:
        super().stopService()
        self._polls.stop()
        if self._reading is not None:
            self._reading.cancel()

    # -- what sessions call

    def arrived(self, host: str, agent: Controlled, stopped: bool, interval: float) -> None:
        """The agent of `host` is here, and samples like that."""
        self._here[host] = agent
        self.said(host, stopped, interval)
        self._tell(host)

    def said(self, host: str, stopped: bool, interval: float) -> None:
        """The agent says how it samples now."""
        self._sampling[host] = Order(stopped, interval)
        self._records.describe(host, {"stopped": "1" if stopped else "", "interval": repr(interval)})

    def gone(self, host: str, agent: Controlled) -> None:
        if self._here.get(host) is agent:
            del self._here[host], self._sampling[host]

    # -- what people call

    async def order(self, host: str, what: str, value: str) -> Order:
        """Sets ``stopped`` or ``interval``, or takes it back with an empty `value`. Raises `StoreUnavailable`."""
        await self._store.order(host, what, value)
        await self._read()
        return self.wanted(host)

    def wanted(self, host: str) -> Order:
        """What is wanted of `host`, as far as it is known here."""
        return self._orders.get(host, NO_ORDER)

    # -- the orders

    def _poll(self) -> Deferred[None] | None:
        if self._reading is None:
            self._reading = ensureDeferred(self._look())
            self._reading.addErrback(self._failed).addCallback(self._looked)
        return None

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("orders could not be read", failure)

    def _looked(self, result: None) -> None:
        self._reading = None

    async def _look(self) -> None:
        try:
            old = self._clock.seconds() - self._read_at > DAY  # reading renews how long they are kept
            if old or await self._store.orders_revision() != self._revision:
                await self._read()
        except StoreUnavailable:
            pass  # the connection has logged it; what is known goes on to count

    async def _read(self) -> None:
        before, first = self._orders, self._revision < 0
        self._revision, fields = await self._store.orders()
        self._orders, self._read_at = orders_of(fields), self._clock.seconds()
        for host in list(self._here):
            if first or before.get(host) != self._orders.get(host):
                self._tell(host)

    def _tell(self, host: str) -> None:
        """Tells the agent what it does not do yet."""
        agent, sampling = self._here.get(host), self._sampling.get(host)
        if agent is None or sampling is None or self._revision < 0:
            return  # those who are here are told when the orders are known
        wanted = self.wanted(host)
        if wanted.interval is not None and wanted.interval != sampling.interval:
            agent.order_interval(wanted.interval)
        if wanted.stopped != sampling.stopped:
            agent.order_stopped(wanted.stopped)
