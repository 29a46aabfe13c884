"""Stopping in order: what was started last is stopped first, and has stopped before the next."""

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

# For whoever comes when there is no time left: enough for what waits for nobody.
_LEAST = 0.1  # s


class StagedService(MultiService):
    """A MultiService that stops its children one after another, in the reverse order of their addition.

    A plain MultiService stops all at once: the store would be gone before the last commit. One that cannot be
    stopped is logged, and does not keep the others from it. All together have a time, for whoever asked for the end
    will not wait for ever. Only a child that has its own, in an attribute ``stops_within`` (s), is left to it.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, within: float) -> None:
        """`within` is the time (s) for all together."""
        super().__init__()
        self._clock = clock
        self._within = within

    def stopService(self) -> Deferred[None]:
        self.running = 0
        return ensureDeferred(self._stop_children())

    async def _stop_children(self) -> None:
        end = self._clock.seconds() + self._within
        for child in reversed(list(self)):
            stopped = maybeDeferred(child.stopService)
            if not hasattr(child, "stops_within"):
                stopped.addTimeout(max(end - self._clock.seconds(), _LEAST), self._clock)
            try:
                await stopped
            except TimeoutError:
                self._log.error("{child} did not stop in time, and is left as it is", child=child)
            except Exception:  # noqa: BLE001 - the boundary of each child
                self._log.failure("{child} could not be stopped", child=child)
