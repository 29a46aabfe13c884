"""Where input comes from: held up while there is too much of it, and let go on some at a time."""

from collections.abc import Callable
from itertools import islice

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from perfmon.net.seams import Source

# So many go on together when there is room again, or a 20th of them; the next ones follow after that time. All at once
# they would fill the room within a moment, and most of what they send would be left out once more.
_TOGETHER, _SHARE, _NEXT_ONES = 16, 20, 0.05  # s


class Sources:
    """All sources of the intake. Each is told of a pause once, and once that it may go on."""

    def __init__(self, room: Callable[[], bool], clock: IReactorTime) -> None:
        """`room` says whether more of those that wait may go on."""
        self._room = room
        self._clock = clock
        self._all: set[Source] = set()
        self._held: dict[Source, None] = {}  # those of them that are paused, in the order in which they are to go on
        self._next: IDelayedCall | None = None
        self.paused = False  # all of them, those to come included

    def attach(self, source: Source) -> None:
        """From now on `source` is paused and goes on with the others."""
        self._all.add(source)
        if self.paused:
            self._hold(source)

    def detach(self, source: Source) -> None:
        self._all.discard(source)
        self._held.pop(source, None)

    def pause(self) -> None:
        """There is too much: nobody goes on until `go_on`."""
        self.paused = True
        for source in list(self._all):
            self._hold(source)

    def _hold(self, source: Source) -> None:
        if source in self._all and source not in self._held:
            self._held[source] = None
            source.pause()

    def go_on(self) -> None:
        """The first of those that wait go on, and the others after them as long as there is room."""
        self.paused = False
        if self._next is None:
            self._some()

    def _some(self) -> None:
        self._next = None
        if self.paused:
            return  # what ends that begins anew
        if self._room():
            for source in list(islice(self._held, max(_TOGETHER, len(self._held) // _SHARE))):
                if source in self._held:  # not gone while others were told
                    del self._held[source]
                    source.resume()
        if self._held:
            self._next = self._clock.callLater(_NEXT_ONES, self._some)

    def stop(self) -> None:
        """Those that wait are not told any more."""
        self._all.clear()
        self._held.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None
