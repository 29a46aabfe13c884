"""A network of the test's own, between the parts of perfmon: it passes on what they say, and breaks when it is told.

Its routes run in a thread with an event loop of their own; every method may be called from any other thread.
"""

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")

# What is read at once, and may wait in a route in each direction beside the sockets' own buffers.
_PIECE = 16_384  # bytes

# A link that is to be reset in the middle of a line is reset without one when nothing was said for so long.
_SILENT = 1.5  # s

# So that half a line has arrived before the reset does.
_HALF_LINE_ARRIVES = 0.02  # s

_ORDERED = 20.0  # s, until an order is carried out

Address = str | tuple[str, int]  # of a unix socket, or of TCP


@dataclass(frozen=True, slots=True)
class Impairment:
    """What is wrong with a route."""

    cut: bool = False  # nothing passes, and nobody is told: what was under way comes after it
    refusing: bool = False  # links end, and none is made
    rate: float | None = None  # bytes/s in each direction
    latency: float = 0.0  # s, on the way there and on the way back


class Witness(Protocol):
    """Sees what passes on the links of a route; `up` is from who has connected to who listens. Called in the thread."""

    def said(self, link: int, up: bool, data: bytes, at: float) -> None:
        """One side has said so."""

    def heard(self, link: int, up: bool, size: int, at: float) -> None:
        """The other side's socket has the next `size` bytes of it."""

    def ended(self, link: int, at: float) -> None:
        """Nothing follows on this link."""


class _Nobody:
    """Sees nothing."""

    def said(self, link: int, up: bool, data: bytes, at: float) -> None:
        pass

    def heard(self, link: int, up: bool, size: int, at: float) -> None:
        pass

    def ended(self, link: int, at: float) -> None:
        pass


class Network:
    """The thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._routes: list[Route] = []
        self._links = 0

    def route(self, to: Address, witness: Witness | None = None) -> "Route":
        """A new way to `to`, with a port of its own."""
        route = Route(self, to, witness)
        self._routes.append(route)
        return route

    def reset(self, routes: Iterable["Route"], up: bool) -> None:
        """Resets all links of `routes`, each in the middle of the next line that it carries in a direction."""

        async def all_of_them() -> None:
            await asyncio.gather(*[route.reset(up) for route in routes])

        self.do(all_of_them())

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`, done in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_ORDERED)

    def next_link(self) -> int:
        self._links += 1
        return self._links

    def close(self) -> None:
        for route in self._routes:
            self.do(route.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_ORDERED)
        self.loop.close()


class Route:
    """Listens on `port`, and passes on what comes there to another address and back."""

    def __init__(self, network: Network, to: Address, witness: Witness | None) -> None:
        self._network = network
        self._to = to
        self._witness = witness or _Nobody()
        self._impairments: dict[str, Impairment] = {}
        self.state = Impairment()  # of all of them
        self.open = asyncio.Event()
        self.open.set()
        self.links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = network.do(self._listen())
        self.port: int = self._listening.sockets[0].getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_PIECE)

    async def end(self) -> None:
        self._listening.close()
        self.open.set()
        for link in list(self.links):
            link.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- orders

    def impair(self, name: str, impairment: Impairment) -> None:
        """From now on this is wrong as well, under a name of the caller's, until it is healed."""
        self._network.do(self._change(name, impairment))

    def heal(self, name: str) -> None:
        """What is called so is not wrong any more."""
        self._network.do(self._change(name, None))

    async def _change(self, name: str, impairment: Impairment | None) -> None:
        if impairment is None:
            self._impairments.pop(name, None)
        else:
            self._impairments[name] = impairment
        every = self._impairments.values()
        rates = [one.rate for one in every if one.rate is not None]
        self.state = Impairment(
            any(one.cut for one in every),
            any(one.refusing for one in every),
            min(rates, default=None),
            sum(one.latency for one in every),
        )
        if self.state.cut:
            self.open.clear()
        else:
            self.open.set()
        if self.state.refusing:
            for link in list(self.links):
                link.reset()

    async def reset(self, up: bool) -> None:
        """Resets each link in the middle of the next line that it carries in a direction; returns when that is done."""
        links = list(self.links)
        for link in links:
            link.breaking = up
        try:
            async with asyncio.timeout(_SILENT):
                await asyncio.gather(*[link.over.wait() for link in links])
        except TimeoutError:
            for link in links:
                link.reset()

    # -- links

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.open.wait()
        if self.state.refusing:
            _reset(writer)
            return
        try:
            if isinstance(self._to, str):
                there = await asyncio.open_unix_connection(self._to, limit=_PIECE)
            else:
                there = await asyncio.open_connection(*self._to, limit=_PIECE)
        except OSError:
            _reset(writer)
            return
        if self.state.refusing:  # since a moment ago
            for end in (writer, there[1]):
                _reset(end)
            return
        link = _Link(self, self._network.next_link(), writer, there[1], self._witness)
        self.links.add(link)
        try:
            await asyncio.gather(link.pass_on(True, reader, there[1]), link.pass_on(False, there[0], writer))
        finally:
            link.close()
            self.links.discard(link)


class _Link:
    """One connection through a route."""

    def __init__(
        self,
        route: Route,
        number: int,
        near: asyncio.StreamWriter,
        far: asyncio.StreamWriter,
        witness: Witness,
    ) -> None:
        self._route = route
        self._number = number
        self._ends = (near, far)
        self._witness = witness
        self.breaking: bool | None = None  # the direction in which the next line is broken
        self.over = asyncio.Event()
        for end in self._ends:
            # what was handed to it has reached the socket of the other side once `drain` returns
            end.transport.set_write_buffer_limits(0)

    async def pass_on(self, up: bool, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Until one of the two sides ends it."""
        route = self._route
        try:
            while (data := await source.read(_PIECE)) and not self.over.is_set():
                self._witness.said(self._number, up, data, time.time())
                if route.state.latency:
                    await asyncio.sleep(route.state.latency)
                await route.open.wait()
                if self.breaking is up:
                    await self._break(up, data, target)
                    return
                await self._deliver(up, data, target)
            await route.open.wait()  # an end is news, too
            target.write_eof()
        except OSError:  # one of them has reset it, or was killed
            await route.open.wait()
            self.reset()

    async def _deliver(self, up: bool, data: bytes, target: asyncio.StreamWriter) -> None:
        while data:
            rate = self._route.state.rate
            size = len(data) if rate is None else max(1, int(rate / 20))
            piece, data = data[:size], data[size:]
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)
                await self._route.open.wait()
            target.write(piece)
            await target.drain()
            if self.over.is_set():
                raise ConnectionResetError
            self._witness.heard(self._number, up, len(piece), time.time())

    async def _break(self, up: bool, data: bytes, target: asyncio.StreamWriter) -> None:
        """The last line of `data` arrives in part, and then nothing more."""
        begin = data.rfind(b"\n", 0, -1) + 1
        await self._deliver(up, data[: begin + random.randint(1, max(1, len(data) - begin - 2))], target)
        await asyncio.sleep(_HALF_LINE_ARRIVES)
        self.reset()

    def reset(self) -> None:
        for end in self._ends:
            _reset(end)
        self._finished()

    def close(self) -> None:
        for end in self._ends:
            end.close()
        self._finished()

    def _finished(self) -> None:
        if not self.over.is_set():
            self.over.set()
            self._witness.ended(self._number, time.time())


def _reset(end: asyncio.StreamWriter) -> None:
    """Ends a connection as a crashed peer's system does: at once, and what was not sent is lost."""
    inner = end.get_extra_info("socket")
    if inner is not None and inner.fileno() >= 0:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()
