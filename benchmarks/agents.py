"""Many agents in one thread: what each sends is made beforehand, when it sends is a schedule, acks are read and timed.

Imported by the others, not run by itself. They speak the protocol as the real agent does: samples after the welcome,
and after a lost connection everything anew that was not acknowledged.
"""

import heapq
import math
import random
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from traffic import Traffic

from perfmon.core.messages import Ack, Error, Heartbeat, LineBuffer, Refused, Resend, Welcome, encode, from_collector

# The longest that a turn waits for something to happen: work that is due by the clock gets done.
_TURN = 0.02  # s

# As perfmon.reconnecting: pauses grow up to the longest, until a connection has lasted for as long.
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.05, 1.7, 15.0  # s

BEAT = -1
"""In a schedule, in place of a number of rounds: a heartbeat."""

_BEAT_LINE = encode(Heartbeat(0.0))

Due = tuple[float, int, int]
"""When (s since the start of the schedule), which agent, and how many of its rounds are to be sent by then."""


@dataclass(slots=True)
class Agent:
    """One of them."""

    number: int
    opening: bytes  # its hello
    schema: bytes
    lines: list[bytes]  # its rounds
    due: list[float] = field(default_factory=list)  # when each round was to be sent, as far as that has come
    link: socket.socket | None = None
    answers: LineBuffer = field(default_factory=LineBuffer)
    pending: memoryview = field(default_factory=lambda: memoryview(b""))
    welcomed: bool = False
    writing: bool = False  # waits until the socket takes more
    since: float = 0.0  # s, by the clock: when it was welcomed
    attempt: int = 0  # connections that were lost too soon
    sent: int = 0  # rounds
    acked: int = 0


class Agents:
    """All agents of a traffic."""

    def __init__(self, port: int, traffic: Traffic) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._all = [
            Agent(host, traffic.greeting(host), traffic.schema, traffic.rounds(host)) for host in range(traffic.hosts)
        ]
        self._lost: list[tuple[float, int]] = []  # a heap: when an agent comes back, and which
        self._started = 0.0
        self._welcomes = 0
        self.heartbeat = 0.0  # s, as the welcome asks for
        self.acked = 0  # rounds
        self.last_ack = 0.0  # s since the start of the schedule
        self.taken: list[tuple[float, float]] = []  # of each round: when it was due, s from then to its ack
        self.behind = 0.0  # s, the most that a round was handed to its socket after it was due
        self.reconnects = 0

    def connect(self) -> float:
        """Opens all connections at once; returns after how many seconds the last agent was welcomed."""
        started = time.perf_counter()
        for agent in self._all:
            self._open(agent)
        while self._welcomes < len(self._all):
            self._turn(_TURN)
        return time.perf_counter() - started

    def run(self, schedule: Iterable[Due], acks: int, every: Callable[[float], None] = lambda now: None) -> None:
        """Follows `schedule` (in order of time) until `acks` rounds are acknowledged in all.

        `every` is called in each turn with the seconds since the start.
        """
        self._started = started = time.perf_counter()
        coming = iter(schedule)
        due = next(coming, None)
        while due is not None or self.acked < acks:
            now = time.perf_counter() - started
            every(now)
            while due is not None and due[0] <= now:
                self.behind = max(self.behind, now - due[0])
                self._give(self._all[due[1]], due[2], due[0])
                due = next(coming, None)
                now = time.perf_counter() - started
            self._turn(_TURN if due is None else min(_TURN, max(0.0, due[0] - now)))

    def again(self) -> None:
        """As if nothing had been sent: the same rounds once more, on new connections, for seqs rise on each."""
        self.acked = 0
        self.taken.clear()
        for agent in self._all:
            agent.acked = 0
            agent.due.clear()
            if agent.link is not None:
                self._lose(agent)

    def close(self) -> None:
        for agent in self._all:
            if agent.link is not None:
                agent.link.close()
        self._selector.close()

    def _give(self, agent: Agent, rounds: int, when: float) -> None:
        if rounds == BEAT:
            if agent.welcomed:
                agent.pending = memoryview(bytes(agent.pending) + _BEAT_LINE)
        else:
            agent.due += [when] * (rounds - len(agent.due))
        if not agent.writing:
            try:
                self._send(agent)
            except OSError:
                self._lose(agent)

    def _turn(self, timeout: float) -> None:
        """Whatever can be done within `timeout`."""
        for key, events in self._selector.select(timeout):
            agent: Agent = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self._send(agent)
                if events & selectors.EVENT_READ:
                    self._read(agent)
            except OSError:
                self._lose(agent)
        while self._lost and self._lost[0][0] <= time.perf_counter():
            self._open(self._all[heapq.heappop(self._lost)[1]])

    def _open(self, agent: Agent) -> None:
        agent.link = one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.connect_ex(("127.0.0.1", self._port))
        agent.answers = LineBuffer()
        agent.pending = memoryview(agent.opening)
        agent.sent = agent.acked
        agent.writing = True
        self._selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE, agent)

    def _lose(self, agent: Agent) -> None:
        """The collector has closed the connection."""
        assert agent.link is not None
        self._selector.unregister(agent.link)
        agent.link.close()
        agent.link = None
        agent.writing = True  # until it is back
        now = time.perf_counter()
        lasted = now - agent.since if agent.welcomed else 0.0
        self._welcomes -= agent.welcomed
        agent.welcomed = False
        agent.attempt = 0 if lasted >= _LONGEST_PAUSE else agent.attempt + 1
        pause = min(_FIRST_PAUSE * _GROWTH ** min(agent.attempt, 100), _LONGEST_PAUSE)
        self.reconnects += 1
        heapq.heappush(self._lost, (now + pause * random.uniform(0.5, 1.0), agent.number))

    def _send(self, agent: Agent) -> None:
        """Everything that may go out, as far as the socket takes it."""
        one = agent.link
        assert one is not None
        full = False
        while not full:
            if not agent.pending:
                if not agent.welcomed or agent.sent == len(agent.due):
                    break
                agent.pending = memoryview(b"".join(agent.lines[agent.sent : len(agent.due)]))
                agent.sent = len(agent.due)
            try:
                agent.pending = agent.pending[one.send(agent.pending) :]
            except BlockingIOError:
                full = True
        if full != agent.writing:
            agent.writing = full
            self._selector.modify(one, selectors.EVENT_READ | (selectors.EVENT_WRITE if full else 0), agent)

    def _read(self, agent: Agent) -> None:
        assert agent.link is not None
        data = agent.link.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        for line in agent.answers.feed(data):
            message = from_collector(line)
            if isinstance(message, Ack):
                self._acknowledge(agent, message.seq)
            elif isinstance(message, Welcome):
                agent.welcomed = True
                agent.since = time.perf_counter()
                self._welcomes += 1
                self.heartbeat = message.heartbeat
                agent.pending = memoryview(agent.schema)
                self._send(agent)
            elif isinstance(message, Resend):
                agent.sent = message.seq - 1
                if not agent.writing:
                    self._send(agent)
            elif isinstance(message, Error | Refused):
                raise SystemExit(f"the collector says: {message.reason}")

    def _acknowledge(self, agent: Agent, seq: int) -> None:
        assert seq <= agent.sent, "a round was acknowledged that was not sent"
        now = time.perf_counter() - self._started
        self.taken += [(due, now - due) for due in agent.due[agent.acked : seq]]
        self.acked += seq - agent.acked
        agent.acked = seq
        self.last_ack = now


def at_once(agents: int, rounds: int) -> list[Due]:
    """A schedule by which everything up to so many rounds of each is due now."""
    return [(0.0, agent, rounds) for agent in range(agents)]


def paced(agents: int, sendings: int, period: float, burst: int = 1) -> list[Due]:
    """A schedule in which each agent sends `burst` rounds every `period` s, the agents one after the other."""
    return [
        ((number + agent / agents) * period, agent, (number + 1) * burst)
        for number in range(sendings)
        for agent in range(agents)
    ]


def beats(agents: int, rounds: int, period: float, heartbeat: float) -> list[Due]:
    """The heartbeats of agents that are `paced`: as the real agent's, every `heartbeat` s from round to round."""
    return [
        ((number + agent / agents) * period + beat * heartbeat, agent, BEAT)
        for number in range(rounds)
        for agent in range(agents)
        for beat in range(1, math.ceil(period / heartbeat))
    ]


def share(taken: Sequence[float], part: float) -> float:
    """The value below which `part` of them are."""
    ordered = sorted(taken)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
