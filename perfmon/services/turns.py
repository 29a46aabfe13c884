"""Long work in small slices, so that what else there is to do waits for no longer than one of them."""

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

# A commit or a heartbeat that comes meanwhile waits for so long; a shorter slice costs more turns than it spares.
SLICE = 0.005  # s


class Turns:
    """Gives the reactor a turn when a slice is used up."""

    def __init__(self, clock: IReactorTime, pause: float = 0.0) -> None:
        """After each slice the work rests for `pause` s."""
        self._clock = clock
        self._pause = pause
        self._since = clock.seconds()

    async def breathe(self, after: float = SLICE) -> None:
        """To be awaited between pieces of work, none of which takes as long as a slice.

        Before one that does, it is to be done with what came before it sooner: `after` so much work (s).
        """
        if self._clock.seconds() - self._since >= after:
            await deferLater(self._clock, self._pause)
            self._since = self._clock.seconds()
