"""One connection to the store that comes back by itself, on txredisapi's protocol.

What of txredisapi is not used, and why: its factory stops reconnecting for ever when the connection is lost
during AUTH or SELECT, its handler queues commands without bound while the server is away, and its pool reorders
writes. Here `perfmon.reconnecting` keeps one connection, authenticates while it prepares it, and a command
without a connection fails at once: the buffer in front of the store is perfmon's own, and bounded.

Importing this module installs the reactor (txredisapi does).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
import txredisapi
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.reconnecting import Reconnecting

# A frozen store must not hold a commit for ever; a healthy one answers the largest within a second,
# also while its append-only file is being rewritten.
REPLY_TIMEOUT = 10.0  # s


class StoreUnavailable(Exception):
    """The store did not do what was asked; it may later. `str()` says what is wrong."""


# hiredis makes room for a command bit by bit, and copies it once more: to put 5 MB together, the 10,000 words of a
# window of 5,000 metrics, it holds the reactor for 20 ms, and what is done here for 12. Shorter ones are hiredis's job.
_MANY_WORDS = 6_000

_MULTI, _EXEC = hiredis.pack_command(("MULTI",)), hiredis.pack_command(("EXEC",))


@dataclass(frozen=True, slots=True)
class _Transaction:
    """Commands that are done at one moment, and answered together."""

    commands: Sequence[tuple[Any, ...]]


def _packed(command: tuple[Any, ...]) -> bytes:
    """A command as bytes."""
    if len(command) < _MANY_WORDS:
        packed: bytes = hiredis.pack_command(command)
        return packed
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    pieces = [piece for word in words for piece in (b"$%d\r\n" % len(word), word, b"\r\n")]
    return b"".join([b"*%d\r\n" % len(words), *pieces])


class StoreProtocol(txredisapi.RedisProtocol):
    """RESP over one connection. Replies are bytes, ints, lists and None, never converted."""

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False, replyTimeout=REPLY_TIMEOUT)
        self._unheard: deque[int] = deque()  # replies to be dropped before that of each command under way

    def _build_command(self, *args: Any, **kwargs: Any) -> bytes:
        # in C: a tenth of the time of txredisapi's, which counts for a script call of 2,000 arguments
        first = args[0]
        if isinstance(first, _Transaction):
            self._unheard.append(1 + len(first.commands))  # of MULTI, and that each command waits for EXEC
            return b"".join([_MULTI, *map(_packed, first.commands), _EXEC])
        self._unheard.append(0)
        return _packed(args)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        # txredisapi's own walks through every element of every reply to convert nothing
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if self._unheard and self._unheard[0]:
                    self._unheard[0] -= 1
                    continue
                if self._unheard:
                    self._unheard.popleft()
                self.replyReceived(reply)
        except txredisapi.InvalidData as problem:
            self.replyReceived(txredisapi.InvalidData(f"no Redis or Valkey there? {problem}"))
            self.transport.abortConnection()


class Connection(Service):
    """A service that stays connected to the store.

    `problem` says, for people, why it is not; None while it is.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        user: str = "",
        password: str = "",
        database: int = 0,
        replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`replaced` is called before anything is sent to another server than the last, or to a restarted one."""
        self.setName(name)
        self.problem: str | None = "not connected yet"
        self._credentials = [part for part in (user, password) if part]
        self._database = database
        self._replaced = replaced
        self._server: frozenset[bytes] | None = None  # what tells the last one from all others
        self._live: StoreProtocol | None = None
        # an embedded server starts within 50 ms, and a repaired store must not be kept waiting
        self._client = Reconnecting(endpoint, self._protocol, self._prepare, self._say, clock, longest=2.0)

    def startService(self) -> None:
        super().startService()
        self._client.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self._client.stopService()

    def call(self, *command: "bytes | str | int | float | _Transaction") -> Deferred[Any]:
        """Sends one command; fires with its reply, or fails with `StoreUnavailable`.

        Commands are answered in the order they were sent.
        """
        if self._live is None:
            return fail(StoreUnavailable(self.problem or "not in use any more"))
        return _translated(self._live.execute_command(*command))

    async def transaction(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Sends commands that are done at one moment; their replies. Raises `StoreUnavailable`, also if one fails."""
        if not commands:
            return []
        replies: list[Any] = await self.call(_Transaction(commands))
        for reply in replies:
            if isinstance(reply, Exception):
                raise StoreUnavailable(str(reply))
        return replies

    def _protocol(self) -> StoreProtocol:
        protocol = StoreProtocol()
        # before anybody else hears of it, so that nobody can send into a connection that has ended
        protocol.whenDisconnected().addCallback(self._lost)
        return protocol

    async def _prepare(self, protocol: StoreProtocol) -> None:
        """Makes a fresh connection usable."""
        if self._credentials:
            await _translated(protocol.execute_command("AUTH", *self._credentials))
        if self._database:
            await _translated(protocol.execute_command("SELECT", self._database))
        # answered with -LOADING while the server still reads its files
        await _translated(protocol.execute_command("PING"))
        server = await self._server_of(protocol)
        if server is None or server != self._server:
            self._server = server
            self._replaced()
        self._live = protocol
        self._log.info("{connection}: connected", connection=self.name)
        self.problem = None

    async def _server_of(self, protocol: StoreProtocol) -> frozenset[bytes] | None:
        """The ids of the server's process and of the history of its data; None where it does not tell."""
        try:
            told = [await _translated(protocol.execute_command("INFO", part)) for part in ("server", "replication")]
        except StoreUnavailable:  # the user may not ask for that
            return None
        lines = b"".join(told).splitlines()
        return frozenset(line for line in lines if line.startswith((b"run_id:", b"master_replid:"))) or None

    def _lost(self, protocol: StoreProtocol) -> None:
        if self._live is protocol:
            self._live = None
            if self.running:
                self._say("connection lost")

    def _say(self, problem: str) -> None:
        """Logs a problem once, not at every attempt."""
        if problem != self.problem:
            self.problem = problem
            self._log.warn("{connection}: store unavailable: {problem}", connection=self.name, problem=problem)


def _translated(reply: Deferred[Any]) -> Deferred[Any]:
    """`reply` with all of txredisapi's failures as `StoreUnavailable`."""

    def translate(failure: Failure) -> None:
        failure.trap(txredisapi.RedisError)
        raise StoreUnavailable(failure.getErrorMessage().strip())

    return reply.addErrback(translate)
