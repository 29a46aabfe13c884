"""A sender of Graphite lines that is never what others wait for.

Imported by the others, not run by itself. (agents.py has the senders of perfmon's own protocol.)
"""

import selectors
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from common import Collector, Status, pause

# Bytes that are handed to a socket at once: more than it takes, so that it is always full.
_PIECE = 1 << 20

# Between two looks at the collector's figures, once everything is sent: each look costs it about a millisecond.
_LOOK = 0.02  # s


class Lines:
    """Connections that send bytes made beforehand, side by side, each as fast as the peer takes it."""

    def __init__(self, port: int, connections: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for one in self._sockets:
            one.setblocking(False)

    def send(self, streams: Sequence[bytes]) -> None:
        """Sends a stream on each connection; returns when the system has taken the last byte."""
        with selectors.DefaultSelector() as selector:
            for one, stream in zip(self._sockets, streams, strict=True):
                selector.register(one, selectors.EVENT_WRITE, [memoryview(stream)])
            while selector.get_map():
                for key, _ in selector.select():
                    rest: list[memoryview] = key.data
                    with suppress(BlockingIOError):
                        rest[0] = rest[0][key.fileobj.send(rest[0][:_PIECE]) :]  # type: ignore[union-attr]  # sockets only
                    if not rest[0]:
                        selector.unregister(key.fileobj)

    def close(self) -> None:
        for one in self._sockets:
            one.close()


def await_stored(collector: Collector, count: int) -> Status:
    """Returns what the collector tells of itself once it has stored `count` samples since its start."""
    return await_status(collector, lambda status: status["samples"]["stored"] >= count)


def await_status(collector: Collector, condition: Callable[[Status], bool]) -> Status:
    """What the collector tells of itself as soon as `condition` holds; a sample that was refused ends the program."""
    while True:
        status = collector.status()
        if status["samples"]["rejected"]:
            raise SystemExit(f"the collector has refused samples: {status['samples']['rejected_by_reason']}")
        if condition(status):
            return status
        pause(_LOOK)
