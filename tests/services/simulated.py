"""A store at a time of the test's own: a real server that is asked at once, with no reactor in between.

The server's own clock cannot be moved. So simulated time lies ahead of it, where nothing ends by itself, and
`Simulation` removes what would have ended by now, to the second.
"""

import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import hiredis
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import Clock

from perfmon.core.tiers import DAY, TIERS, Tier
from perfmon.services.sealing import LEASE, Sealing
from perfmon.storage.connection import Connection, StoreUnavailable
from perfmon.storage.store import Store
from perfmon.storage.windows import Windows
from tests.valkey import Server, StoreCase
from tests.waiting import PATIENCE

_T = TypeVar("_T")

# ARGV: now (s). Removes the keys that have ended by now. Returns how many are left, and those that never end.
_EXPIRE = """
local left, forever = 0, {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local ends = redis.call('EXPIRETIME', key)
  if ends >= 0 and ends <= tonumber(ARGV[1]) then
    redis.call('UNLINK', key)
  else
    left = left + 1
    if ends < 0 then forever[#forever + 1] = key end
  end
end
return {left, forever}
"""


class Client:
    """A plain client on one connection that stays."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(path)
        self._reader = hiredis.Reader()

    def __call__(self, *command: Any) -> Any:
        (reply,) = self._replies([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def transaction(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies to commands that are done at one moment."""
        replies: list[Any] = self._replies([("MULTI",), *commands, ("EXEC",)])[-1]
        return replies

    def _replies(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        self._socket.sendall(b"".join(map(hiredis.pack_command, commands)))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                self._reader.feed(self._socket.recv(1 << 20))
            else:
                replies.append(reply)
        return replies

    def close(self) -> None:
        self._socket.close()


class Link(Connection):
    """A collector's connection: each call is answered at once, but for the one that the test has chosen.

    A transaction is one call.
    """

    def __init__(self, client: Client) -> None:
        super().__init__("simulated", UNIXClientEndpoint(Clock(), ""), Clock())
        self._ask = client
        self._left: int | None = None  # calls that are still answered
        self._done = False  # the call after these is done all the same
        self._held: tuple[Callable[[], Any], Deferred[Any]] | None = None
        self._hold = False
        self.calls = 0
        self.before: Callable[[int], None] = lambda number: None
        """Is called before each call with its number, from 0 on."""

    def fail_after(self, calls: int, done: bool) -> None:
        """So many more calls are answered, and none from then on; the first of these is `done` by the server or not."""
        self._left, self._done, self._hold = calls, done, False

    def hold_after(self, calls: int) -> None:
        """So many more calls are answered; the next one stays on its way to the server until `release`."""
        self._left, self._hold = calls, True

    @property
    def holds(self) -> bool:
        """Whether a call is on its way."""
        return self._held is not None

    def release(self) -> None:
        """What is on its way arrives, and from now on everything does."""
        self._left, held, self._held = None, self._held, None
        if held is not None:
            ask, reply = held
            reply.callback(ask())

    def call(self, *command: Any) -> Deferred[Any]:
        return self._asked(lambda: self._ask(*command))

    async def transaction(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        replies: list[Any] = await self._asked(lambda: self._ask.transaction(commands))
        return replies

    def _asked(self, ask: Callable[[], Any]) -> Deferred[Any]:
        self.before(self.calls)
        self.calls += 1
        if self._left is not None:
            self._left -= 1
            if self._left < 0 and self._hold:
                assert self._held is None, "one call at a time"
                reply: Deferred[Any] = Deferred()
                self._held = ask, reply
                return reply
            if self._left < 0:
                if self._left == -1 and self._done:
                    ask()
                return fail(StoreUnavailable("cut by the test"))
        return succeed(ask())


class StoreAtOnce(Store):
    """A store on a `Link`."""

    def __init__(self, link: Link, tiers: Sequence[Tier]) -> None:
        super().__init__(UNIXClientEndpoint(Clock(), ""), Clock(), tiers=tiers)
        self._writer = self._reader = link
        self.windows = Windows(link, link, tiers)


class Simulation:
    """The time, a store, and collectors that seal."""

    def __init__(self, server: Server, tiers: Sequence[Tier] = TIERS) -> None:
        # some days ahead: samples of the past days would not have ended by the server's clock either
        self.now = time.time() // DAY * DAY + 10 * DAY
        self.tiers = tiers
        self.client = Client(server.socket)
        self.store = self.collector()

    def collector(self, link: Link | None = None) -> Store:
        """The store as one more collector sees it."""
        return StoreAtOnce(link or Link(self.client), self.tiers)

    def sealing(self, link: Link | None = None, clock: Clock | None = None) -> Sealing:
        """What seals in one more collector."""
        return Sealing(self.collector(link).windows, clock or Clock(), lambda: self.now)

    def advance(self, seconds: float) -> tuple[int, list[bytes]]:
        """Time passes. Returns how many keys there are then, and those of them that never end."""
        self.now += seconds
        return self.expire()

    def expire(self) -> tuple[int, list[bytes]]:
        """Removes what has ended by now. Returns how many keys are left, and those of them that never end."""
        left, forever = self.client("EVAL", _EXPIRE, 0, repr(self.now))
        return left, forever

    def seal(self) -> None:
        """All that is due now is done."""
        sealing = self.sealing()
        while done(sealing.work()):
            self.expire()

    def settle(self, lease: float = LEASE) -> None:
        """All that waits for its time is done, but for what waits for the end of a day."""
        for seconds in (lease + 1.0, 40.0, 40.0, 40.0):
            self.advance(seconds)
            self.seal()


def done(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, which has one already."""
    results: list[Any] = []
    ensureDeferred(work).addBoth(results.append)
    assert results, "it waits for something"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    result: _T = results[0]
    return result


class SimulatedCase(StoreCase):
    """Has a server, and on it as many simulations as it likes, one after another."""

    def simulation(self, tiers: Sequence[Tier] = TIERS) -> Simulation:
        """A simulation with an empty store."""
        self.server.reset()
        simulation = Simulation(self.server, tiers)
        self.addCleanup(simulation.client.close)
        return simulation
