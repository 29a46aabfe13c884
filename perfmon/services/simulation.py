"""The life of a simulated fleet: rounds in their turn, an orderly end, and what it came to."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from perfmon.core.rota import Rota, Turn
from perfmon.core.simulated_fleet import SimulatedFleet
from perfmon.core.summary import Summary
from perfmon.core.tally import Tally

# Between two looks at who is due: short enough to spread the rounds over the interval, long enough to work out the
# values of many hosts at once. A fiftieth of the interval, between these two.
_SHORTEST_TICK, _LONGEST_TICK = 0.01, 0.2  # s

# Rounds at once; then the reactor has a turn, for there are answers to read.
MOST_AT_ONCE = 500

# Samples that wait to be acknowledged: about 10 bytes each. Further rounds are left out, so memory stays bounded
# while the collector is away.
MAX_WAITING = 20_000_000

# How long the end waits for what is not acknowledged yet: as long as a collector that is restarted takes.
GRACE = 15.0  # s

_POLL = 0.02  # s, between two looks at whether all is settled

_PROGRESS = 10.0  # s, between two lines in the log


class Sending(Protocol):
    """How the fleet speaks to the collector; a service."""

    def startService(self) -> None: ...
    def stopService(self) -> Any: ...
    def send(self, turn: Turn, rows: list[Any]) -> None: ...
    @property
    def settled(self) -> bool: ...
    @property
    def acknowledged(self) -> Sequence[int]: ...


class Simulation(Service):
    """A service: the fleet samples and sends while it runs.

    Stopping it ends the sampling, waits `GRACE` s at the most for what is not acknowledged, lets every agent say
    goodbye, and then hands what it came to to `ended`.
    """

    _log = Logger()

    def __init__(
        self,
        fleet: SimulatedFleet,
        agents: int,
        interval: float,
        sending: Sending,
        tally: Tally,
        ended: Callable[[Summary], None],
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """Each agent samples every `interval` s; `wall` gives the time in s since the epoch."""
        self._fleet = fleet
        self._agents = agents
        self._interval = interval
        self._sending = sending
        self._tally = tally
        self._ended = ended
        self._clock = clock
        self._wall = wall
        self._tick = min(max(interval / 50, _SHORTEST_TICK), _LONGEST_TICK)
        self._metrics = len(fleet.names)
        self._rota: Rota | None = None
        self._next: IDelayedCall | None = None
        self._hurry = False
        self._since = 0.0
        self._told = 0  # rounds that the log knows of
        self._progress = LoopingCall(self._tell)
        self._progress.clock = clock

    def startService(self) -> None:
        super().startService()
        self._since = self._clock.seconds()
        self._rota = Rota(self._agents, self._interval, self._wall())
        self._sending.startService()
        self._progress.start(_PROGRESS, now=False)
        self._next = self._clock.callLater(self._tick, self._turn, self._rota)

    def _turn(self, rota: Rota) -> None:
        """Those who are due sample and send."""
        turn = rota.due(self._wall(), MOST_AT_ONCE)
        pause = 0.0 if len(turn) == MOST_AT_ONCE else self._tick
        self._next = self._clock.callLater(pause, self._turn, rota)
        self._tally.left_out += turn.left_out
        if (self._tally.sampled - self._tally.acknowledged) * self._metrics > MAX_WAITING:
            self._tally.left_out += len(turn)
        elif len(turn):
            try:
                self._sending.send(turn, self._fleet.values(turn.numbers, turn.times).tolist())
            except Exception:  # noqa: BLE001 - the boundary of a turn
                self._log.failure("a turn failed")

    def _tell(self) -> None:
        tally = self._tally
        rounds = tally.acknowledged if self._sending.acknowledged else tally.sent
        rate, self._told = (rounds - self._told) * self._metrics / _PROGRESS, rounds
        self._log.info(
            "{connected} connected; rounds: {sent} sent, {acknowledged} acknowledged, {left_out} left out; "
            "{rate:.0f} samples/s of {asked:.0f} asked for",
            connected=tally.connected,
            sent=tally.sent,
            acknowledged=tally.acknowledged,
            left_out=tally.left_out,
            rate=rate,
            asked=self._asked,
        )

    @property
    def _asked(self) -> float:
        """Samples/s over all agents."""
        return self._agents * self._metrics / self._interval

    def hurry(self) -> None:
        """Waits for no acknowledgement any more."""
        self._hurry = True

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._progress.stop()
        return ensureDeferred(self._end())

    async def _end(self) -> None:
        limit = self._clock.seconds() + GRACE
        if not self._sending.settled:
            self._log.info("no more samples; waiting {seconds:g} s at most for what is under way", seconds=GRACE)
        while not (self._sending.settled or self._hurry or self._clock.seconds() >= limit):
            await deferLater(self._clock, _POLL)
        seconds, connected = self._clock.seconds() - self._since, self._tally.connected
        await maybeDeferred(self._sending.stopService)
        self._ended(
            Summary(
                self._tally,
                self._agents,
                self._metrics,
                self._asked,
                max(seconds, _POLL),
                self._sending.acknowledged,
                connected,
            )
        )
