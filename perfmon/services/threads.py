"""A thread of its own for calls that block, one after the other."""

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool


class OwnThread(Service):
    """A service: `run` works while it runs, and what was given to it before it stops is done."""

    def __init__(self, name: str, reactor: Any) -> None:
        self._pool = ThreadPool(1, 1, name)
        self._reactor = reactor

    def startService(self) -> None:
        super().startService()
        self._pool.start()

    def stopService(self) -> None:
        super().stopService()
        self._pool.stop()

    def run(self, call: Callable[[], Any]) -> Deferred[Any]:
        """Fires in the reactor with what `call` returns, or fails with what it raises."""
        return deferToThreadPool(self._reactor, self._pool, call)
