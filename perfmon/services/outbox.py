"""What the agent has sampled and the collector has not confirmed: on disk, and from there on its way."""

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.flight import MAX_BACKLOG, Flight, Round
from perfmon.core.messages import Gap, encode
from perfmon.services.spool import Spool

_T = TypeVar("_T")

# Rounds read from the spool together.
_PAGE = 2 * MAX_BACKLOG

# Confirmed rounds are forgotten with the next round that is kept, or once there are so many of them: to forget each by
# itself would write to the disk once more for each. Those that an agent is killed with are sent again, which does no
# harm.
_FORGOTTEN_TOGETHER = 64


class Outbox(Service):
    """A service: every round goes to the spool before it is sent, and leaves it once it is confirmed.

    It keeps for the connection which rounds are under way (see `perfmon.core.flight`).
    """

    _log = Logger()

    def __init__(self, spool: Spool, run: Callable[[Callable[[], Any]], Deferred[Any]], clock: IReactorTime) -> None:
        """`run` calls something of the spool outside of the reactor, one after the other."""
        self._spool = spool
        self._run = run
        self._clock = clock
        self._wake: Callable[[], None] = lambda: None
        self._flight: Flight | None = None  # of the connection, None without one
        self._new: deque[Round] = deque()  # to be sent as they are
        self._old: deque[Round] = deque()  # read from the spool, to be sent as there is room
        self._read_to = 0  # key up to which the spool was read on this connection
        self._left = 0  # highest key of those that were not sent when they were new
        self._ahead: set[int] = set()  # keys above `_read_to` that were sent before it was their turn
        self._reading = False
        self._files = 0  # that the spool had opened when reading began
        self._done: list[int] = []  # keys that the spool is to forget
        self._gap: Gap | None = None  # the collector is to be told of
        self._gap_sent = False  # on this connection
        self._refused = 0
        self._refused_told = 0

    def listen(self, wake: Callable[[], None]) -> None:
        """`wake` is called when there is something to send."""
        self._wake = wake

    def startService(self) -> None:
        super().startService()
        self._ask(self._spool.open, lambda _: self._wake())

    def stopService(self) -> Deferred[Any]:
        """Fires when all is on disk."""
        super().stopService()
        self._ask(partial(self._spool.forget, self._forgotten()))
        return self._run(self._spool.close)

    def add(self, time: float, values: Mapping[str, float]) -> None:
        """Takes in the round of `time` (s since the epoch)."""
        done, sent = self._forgotten(), self._under_way()
        self._ask(partial(self._spool.put, time, values, done, sent), self._kept)

    @property
    def waiting(self) -> int:
        """Rounds that are not confirmed."""
        return self._spool.rounds - len(self._done)

    def figures(self) -> dict[str, float]:
        """Rounds that wait, and those that will never be stored: there was no room, or they were refused."""
        return {
            "perfmon.agent.spooled": float(self.waiting),
            "perfmon.agent.dropped": float(self._spool.dropped + self._refused),
        }

    # -- what the connection calls

    def opened(self) -> None:
        """A connection stands; nothing is under way on it."""
        self._flight = Flight()
        self._read_to, self._left, self._files = 0, self._spool.last_key, self._spool.opened
        self._look_for_gap()

    def closed(self) -> None:
        """It has ended: what it has not brought waits for the next one."""
        self._flight = None
        self._gap_sent = False
        self._new.clear()
        self._old.clear()
        self._ahead.clear()

    def due(self) -> bytes:
        """What is to be sent now."""
        flight = self._flight
        if flight is None:
            return b""
        now, lines = self._clock.seconds(), []
        if self._gap is not None and not self._gap_sent:
            self._gap_sent = True
            lines.append(encode(self._gap))
        while self._new:
            lines.append(flight.take(self._new.popleft(), False, now))
        while self._old and flight.takes_old:
            lines.append(flight.take(self._old.popleft(), True, now))
        self._read(flight)
        return b"".join(lines)

    def confirm(self, seq: int) -> None:
        """All up to `seq` is stored."""
        if self._flight is not None:
            self._done += self._flight.confirm(seq, self._clock.seconds())
            if len(self._done) >= _FORGOTTEN_TOGETHER:
                self._ask(partial(self._spool.forget, self._forgotten()))

    def refuse(self, seq: int, reason: str) -> None:
        """`seq` will never be stored."""
        key = self._flight.refuse(seq) if self._flight is not None else None
        if key is not None:
            self._done.append(key)
            self._refused += 1
            if self._refused >= 2 * self._refused_told:  # told of the first, and of each doubling
                self._refused_told = self._refused
                self._log.warn("samples refused: {reason} ({count} rounds so far)", reason=reason, count=self._refused)

    def resend(self, seq: int) -> bytes:
        """What is to be sent once more: all that was sent from `seq` on."""
        return self._flight.again(seq) if self._flight is not None else b""

    def noted(self, gap: int) -> None:
        """The collector keeps the gap of this id."""
        if self._gap is not None and self._gap.id == gap:
            self._gap, self._gap_sent = None, False
            self._ask(partial(self._spool.noted, gap), lambda _: self._look_for_gap())

    # -- what the spool answers

    def _ask(self, call: Callable[[], _T], then: Callable[[_T], None] = lambda _: None) -> None:
        self._run(call).addCallback(then).addErrback(
            lambda failure: self._log.failure("the spool did not do what it should", failure)
        )

    def _under_way(self) -> set[int]:
        """Keys of the rounds that are in memory."""
        flying = self._flight.keys if self._flight is not None else set()
        return flying | {round.key for round in (*self._new, *self._old)}

    def _forgotten(self) -> list[int]:
        done, self._done = self._done, []
        return done

    def _kept(self, round: Round) -> None:
        """It is on disk, and may be sent."""
        if self._flight is None or self._flight.room <= len(self._new):
            self._left = round.key
        else:
            self._new.append(round)
            if self._left <= self._read_to:
                self._read_to = round.key  # nothing waits before it
            else:
                self._ahead.add(round.key)
        self._look_for_gap()
        self._wake()

    def _read(self, flight: Flight) -> None:
        """Reads on in the spool if that is needed."""
        if self._files != self._spool.opened:  # one was found that was not there before, with older ones
            self._read_to, self._left, self._files = 0, self._spool.last_key, self._spool.opened
        if self._old or self._reading or self._left <= self._read_to or not flight.takes_old:
            return
        self._reading = True

        def read(rounds: list[Round]) -> None:
            self._reading = False
            if flight is self._flight:
                self._read_to = rounds[-1].key if rounds else max(self._read_to, self._left)
                sent = self._ahead | flight.keys
                self._old += [round for round in rounds if round.key not in sent]
                self._ahead = {key for key in self._ahead if key > self._read_to}
            self._wake()

        def failed(failure: Failure) -> None:
            self._reading = False  # the next round, or the next confirmation, tries again
            self._log.failure("the spool could not be read", failure)

        page = partial(self._spool.page, self._read_to, _PAGE, self._forgotten())
        self._run(page).addCallbacks(read, failed).addErrback(failed)

    def _look_for_gap(self) -> None:
        if self._flight is not None and self._gap is None and self._spool.has_gap:
            self._ask(self._spool.gap, self._tell_of)

    def _tell_of(self, gap: Gap | None) -> None:
        self._gap = gap
        self._wake()
