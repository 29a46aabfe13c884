"""How late the reactor is: the time by which a call that was due came too late."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

_PERIOD = 0.25  # s
_KEEP = 40  # measurements: the last ten seconds


class LoopLag(Service):
    """A service that measures the reactor it runs in."""

    def __init__(self, clock: IReactorTime, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._due = 0.0
        self._lags: list[float] = []
        self._listeners: list[Callable[[float], None]] = []
        self._call = LoopingCall(self._measure)
        self._call.clock = clock

    def listen(self, listener: Callable[[float], None]) -> None:
        """`listener` is called with each lag that is measured (s), four times a second."""
        self._listeners.append(listener)

    def startService(self) -> None:
        super().startService()
        self._due = self._monotonic() + _PERIOD
        self._call.start(_PERIOD, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._call.stop()

    def _measure(self) -> None:
        now = self._monotonic()
        lag = max(0.0, now - self._due)
        self._lags = [*self._lags[1 - _KEEP :], lag]
        self._due = now + _PERIOD
        for listener in self._listeners:
            listener(lag)

    @property
    def worst(self) -> float:
        """The largest lag of the last ten seconds, in s."""
        return max(self._lags, default=0.0)
