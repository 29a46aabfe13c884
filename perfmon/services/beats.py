"""Signs of life of thousands of agents by one timer: a wheel of ticks, each with those who are due in it."""

from collections.abc import Callable
from math import ceil

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

# A sign of life may come so much later than it was due. The shortest interval of a collector is 0.33 s.
TICK = 0.1  # s


class _Beat:
    """One caller; as a LoopingCall, but on the common wheel."""

    __slots__ = ("_wheel", "call", "interval", "round", "running")

    def __init__(self, call: Callable[[], None], wheel: "SharedBeats") -> None:
        self._wheel = wheel
        self.call = call
        self.interval = 0.0
        self.round = 0  # which start it is: what the wheel holds of an earlier one no longer counts
        self.running = False

    def start(self, interval: float, now: bool) -> None:
        self.interval = interval
        self.round += 1
        self.running = True
        self._wheel.put(self)
        if now:
            self.call()

    def reset(self) -> None:
        """The next call comes an interval from now."""
        self.round += 1
        self._wheel.put(self)

    def stop(self) -> None:
        self.running = False


class SharedBeats(Service):
    """A service: calls all that have started, each in its interval, while it runs."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._due: dict[int, list[tuple[_Beat, int]]] = {}
        self._done = 0  # the last tick that was served
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock

    def startService(self) -> None:
        super().startService()
        self._done = int(self._clock.seconds() / TICK)
        self._ticks.start(TICK, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._ticks.stop()

    def beats(self, call: Callable[[], None], clock: IReactorTime) -> _Beat:
        """One that calls `call` once it is started; the clock is that of all."""
        return _Beat(call, self)

    def put(self, beat: _Beat) -> None:
        """`beat` is due in its interval."""
        tick = max(self._done + 1, ceil((self._clock.seconds() + beat.interval) / TICK))
        self._due.setdefault(tick, []).append((beat, beat.round))

    def _tick(self) -> None:
        last, self._done = self._done, int(self._clock.seconds() / TICK)
        for tick in range(last + 1, self._done + 1):
            for beat, started in self._due.pop(tick, ()):
                if beat.running and beat.round == started:
                    try:
                        beat.call()
                    except Exception:  # noqa: BLE001 - the boundary of each call
                        self._log.failure("a sign of life failed")
                if beat.running and beat.round == started:
                    self.put(beat)
