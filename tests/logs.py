"""What was logged during a test."""

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

_LEVELS = list(LogLevel.iterconstants())


@implementer(ILogObserver)
class Logged:
    """The log events so far."""

    def __init__(self) -> None:
        self._events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self._events.append(event)

    def texts(self, lowest: LogLevel) -> list[str]:
        """Formatted events of the level `lowest` and above, oldest first."""
        return [
            formatEvent(event)
            for event in self._events
            if _LEVELS.index(event.get("log_level", LogLevel.info)) >= _LEVELS.index(lowest)
        ]

    @property
    def infos(self) -> list[str]:
        return self.texts(LogLevel.info)

    @property
    def warnings(self) -> list[str]:
        return self.texts(LogLevel.warn)


@contextmanager
def logged() -> Iterator[Logged]:
    """Gathers what is logged inside."""
    observer = Logged()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer
    finally:
        globalLogPublisher.removeObserver(observer)
