"""Stopping in order: what was started last is stopped first, and has stopped before the next."""

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.logger import Logger


class StagedService(MultiService):
    """A MultiService that stops its children one after another, in the reverse order of their addition.

    A plain MultiService stops all at once: the store would be gone before the last commit. One that cannot be
    stopped is logged, and does not keep the others from it.
    """

    _log = Logger()

    def stopService(self) -> Deferred[None]:
        self.running = 0
        return ensureDeferred(self._stop_children())

    async def _stop_children(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception:  # noqa: BLE001 - the boundary of each child
                self._log.failure("{child} could not be stopped", child=child)
