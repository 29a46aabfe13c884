"""Work that is not done twice at once, and that is done again and again."""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

Work = Callable[[], Coroutine[Any, Any, None]]


class Single:
    """Work that is begun when it is asked for, unless it still goes on. What it raises is logged."""

    _log = Logger()

    def __init__(self, work: Work, what: str) -> None:
        """`what` says in the log what has failed."""
        self._work = work
        self._what = what
        self._under_way: Deferred[None] | None = None

    @property
    def idle(self) -> bool:
        return self._under_way is None

    def begin(self) -> None:
        if self._under_way is None:
            self._under_way = ensureDeferred(self._work()).addErrback(self._failed)
            self._under_way.addCallback(self._done)

    def cancel(self) -> None:
        if self._under_way is not None:
            self._under_way.cancel()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("{what}", failure, what=self._what)

    def _done(self, result: None) -> None:
        self._under_way = None


class Polling(Single):
    """Such work, every `interval` s; where it still goes on, once less."""

    def __init__(self, work: Work, interval: float, what: str, clock: IReactorTime) -> None:
        super().__init__(work, what)
        self._interval = interval
        self._ticks = LoopingCall(self.begin)
        self._ticks.clock = clock

    def start(self) -> None:
        self._ticks.start(self._interval)

    def stop(self) -> None:
        """Ends what is under way, too."""
        self._ticks.stop()
        self.cancel()
