"""What the tests of presence have in common: time is a Clock's, the store is a real one."""

import time

from twisted.internet.task import Clock

from perfmon.core.presence import Timeouts
from perfmon.services.lease import Lease
from perfmon.services.presence import SWEEP, PresenceService
from perfmon.storage.store import Store
from tests.valkey import StoreCase
from tests.waiting import until

NOW = float(int(time.time()))  # the server's own clock decides when a key expires
TIMEOUTS = Timeouts(late=1.0, departed=2.0, silent=4.0)


class PresenceCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.ahead = 0.0  # s that the wall clock is ahead of the other
        self.leases: dict[PresenceService, Lease] = {}

    def service(self, store: Store) -> PresenceService:
        """A running service with its lease, moved on by `wait`."""
        service = PresenceService(store, TIMEOUTS, self.clock, self.clock.seconds, self.wall)
        lease = Lease(store, service, TIMEOUTS.departed, self.clock, self.clock.seconds)
        lease.startService()
        service.startService()
        self.leases[service] = lease
        self.addCleanup(self.stop, service)
        return service

    async def stop(self, service: PresenceService) -> None:
        if service in self.leases:
            await service.stopService()
            await self.leases.pop(service).stopService()

    async def settled(self, service: PresenceService) -> None:
        """It has done what was under way."""
        lease = self.leases[service]
        await until(lambda: service._flushing is None and lease._working is None, "the sweep")

    def wall(self) -> float:
        return NOW + self.clock.seconds() + self.ahead

    async def wait(self, seconds: float, *signs: tuple[PresenceService, str]) -> None:
        """Lets time pass; each of `signs` is a host that one of the services hears all the while."""
        for _ in range(round(seconds / SWEEP)):
            for service, host in signs:
                service.sign(host)
            self.clock.advance(SWEEP)
            for service in self.leases:
                await self.settled(service)

    async def events(self, store: Store) -> list[tuple[str, list[str], float]]:
        """(kind, hosts, s after `NOW`) of every event, oldest first."""
        return [(event.kind, sorted(event.hosts), event.at - NOW) for event in await store.events("0", 100)]

    async def state(self, store: Store, host: str) -> tuple[str, bool, float]:
        """(state, whether present, s after `NOW` of the last sign) as the store has it."""
        (record,) = await store.hosts([host])
        return record.meta["state"], record.present, record.last_seen - NOW
