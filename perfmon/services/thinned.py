"""A log of what many do alike: the first of each kind, and then each doubling."""

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

_TOLD = (LogLevel.warn, LogLevel.error, LogLevel.critical)


@implementer(ILogObserver)
class Thinned:
    """Passes on warnings and worse, thinned; a kind is what has the same format."""

    def __init__(self, onwards: ILogObserver = globalLogPublisher) -> None:
        self._onwards = onwards
        self._counts: dict[str | None, int] = {}

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] not in _TOLD:
            return
        kind = event["log_format"]
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count & (count - 1):
            return
        if count > 1 and kind is not None:
            event = {**event, "log_format": f"{kind} (and {{before}} like it before)", "before": count - 1}
        self._onwards(event)
