"""A load of the network: messages to others, each answered with its SHA-1, which is checked.

It answers from its preparation on, in a thread of its own, for others may begin a moment before it does; and at the end
until they have gone.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from perfmon.core.echo import DIGEST, Answering, Asking, BadGreeting, greeting
from perfmon.core.latencies import Latencies
from perfmon.core.loads import Echo
from perfmon.core.messages import Figures, Peer
from perfmon.loads.running import PROGRESS, Clock, Outcome, rate_figures

# Who cannot be reached for so long is not.
CONNECT = 5.0  # s

# The last answers are waited for so long.
DRAIN = 2.0  # s

# Others may have begun later: after its own end it answers as long as they are there, but for so long at most.
LINGER = 5.0  # s

# Unanswered messages of a connection: who is slower than the rate is to be measured, and not to be buried.
WINDOW = 16

_READ = 1 << 16  # bytes

_T = TypeVar("_T")


class _Connection:
    """The sending end to one peer."""

    def __init__(self, peer: Peer, asking: Asking) -> None:
        self.peer = peer
        self.asking = asking
        self.problem = ""


class EchoRunning:
    """The load on this machine."""

    def __init__(self, load: Echo, run: str, host: str, listen: tuple[str, int], clock: Clock) -> None:
        """`run` and `host` are told to the others; it answers on `listen` (address, port; 0: any). `clock` is in s."""
        self._load = load
        self._run = run
        self._host = host
        self._listen = listen
        self._clock = clock
        self._connections: list[_Connection] = []
        self._answers = 0  # messages of others that were answered
        self._answered: set[asyncio.Task[None]] = set()  # those who are answered now
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="echo", daemon=True)

    def prepare(self) -> Figures:
        family = socket.AF_INET6 if ":" in self._listen[0] else socket.AF_INET
        listening = socket.create_server(self._listen, family=family, backlog=1_024)
        self._thread.start()
        self._in_loop(asyncio.start_server(self._answer, sock=listening))
        return {"port": listening.getsockname()[1]}

    def meet(self, peers: Sequence[Peer]) -> None:
        block = os.urandom(self._load.size)
        self._connections = [_Connection(peer, Asking(self._load.size, block)) for peer in peers]

    def run(self, stopped: Callable[[], bool], tell: Callable[[float, Figures], None]) -> Outcome:
        load, begun = self._load, self._clock()
        end = begun + load.seconds
        finished = threading.Event()
        sending = asyncio.run_coroutine_threadsafe(self._send_all(end), self._loop)
        sending.add_done_callback(lambda _: finished.set())
        while not finished.wait(PROGRESS):
            passed = self._clock() - begun
            tell(min(1.0, passed / load.seconds), self._in_loop(self._figures(passed)))
            if stopped():
                sending.cancel()
                break
        figures = self._in_loop(self._figures(min(self._clock() - begun, load.seconds)))
        self._in_loop(self._until_gone(0.0 if stopped() else LINGER))
        return Outcome(figures, {one.peer.host: self._pair(one) for one in self._connections})

    def clean(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _in_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- the end that answers

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answered.add(task)
        answering = Answering(self._run)
        try:
            while data := await reader.read(_READ):
                answers = answering.feed(data)
                self._answers += len(answers) // DIGEST
                writer.write(answers)
                await writer.drain()
        except (BadGreeting, OSError):
            pass  # a stranger is not answered; whose connection breaks counts what is missing
        finally:
            self._answered.discard(task)
            writer.close()

    async def _until_gone(self, patience: float) -> None:
        if self._answered:
            await asyncio.wait(self._answered, timeout=patience)

    # -- the end that sends

    async def _send_all(self, end: float) -> None:
        await asyncio.gather(*[self._send(one, end) for one in self._connections])
        await asyncio.sleep(max(0.0, end - self._clock()))  # who has nobody to send to answers

    async def _send(self, one: _Connection, end: float) -> None:
        peer = one.peer
        if not peer.port:
            one.problem = "it does not answer"
            return
        try:
            opening = asyncio.open_connection(peer.address, peer.port)
            reader, writer = await asyncio.wait_for(opening, CONNECT)
        except (OSError, TimeoutError) as problem:
            one.problem = f"{peer.address} port {peer.port}: {problem or f'no connection within {CONNECT:g} s'}"
            return
        checking = asyncio.create_task(self._check(one.asking, reader))
        try:
            writer.write(greeting(self._run, self._load.size, self._host))
            await self._send_messages(one.asking, writer, checking, end)
            drained = self._clock() + DRAIN
            while one.asking.awaited and not checking.done() and self._clock() < drained:
                await asyncio.sleep(0.01)
            if checking.done():
                one.problem = "the connection ended early"
        except OSError as problem:
            one.problem = f"the connection ended early: {problem}"
        finally:
            checking.cancel()
            writer.close()

    async def _send_messages(
        self, asking: Asking, writer: asyncio.StreamWriter, checking: "asyncio.Task[None]", end: float
    ) -> None:
        begun, step = self._clock(), 1 / self._load.rate
        while (now := self._clock()) < end and not checking.done():
            due = begun + asking.sent * step
            if now < due or asking.awaited >= WINDOW:
                await asyncio.sleep(min(max(due - now, 0.001), end - now))
                continue
            writer.write(asking.message(self._clock))
            await writer.drain()

    async def _check(self, asking: Asking, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_READ):
                asking.feed(data, self._clock())

    # -- what came of it

    async def _figures(self, seconds: float) -> Figures:
        """Over all whom it sends to. The bytes are those of messages that were answered; who only answers has none."""
        latencies, all_ = Latencies(), [one.asking for one in self._connections]
        for asking in all_:
            latencies.include(asking.latencies)
        if not all_:
            return {"seconds": seconds, "answers": self._answers}
        unreached = sum(1 for one in self._connections if one.problem)
        counted = _counted(self._load.size, all_, latencies, seconds)
        return {**counted, "unreached": unreached, "answers": self._answers}

    def _pair(self, one: _Connection) -> Figures:
        figures = _counted(self._load.size, [one.asking], one.asking.latencies, self._load.seconds)
        return {**figures, "problem": one.problem} if one.problem else figures


def _counted(size: int, asked: Sequence[Asking], latencies: Latencies, seconds: float) -> Figures:
    answered, sent = (sum(getattr(asking, what) for asking in asked) for what in ("answered", "sent"))
    more: Figures = {
        "messages": answered,
        "unanswered": sent - answered,
        "mismatches": sum(asking.mismatches for asking in asked),
    }
    if answered:
        more |= {f"p{100 * share:g}": latencies.quantile(share) for share in (0.5, 0.95, 0.99)}
        more["longest"] = max(asking.longest for asking in asked)
    return rate_figures(size * answered, seconds, more)
