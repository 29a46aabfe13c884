"""Tests for `perfmon.services.outbox`, with its spool on disk."""

from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.flight import MAX_LIVE
from perfmon.services.outbox import Outbox
from perfmon.services.spool import Spool
from tests.logs import logged
from tests.services.spools import NOW, folder


class Thread:
    """Calls that are done one after the other, when the test says so."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()

    def run(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self._calls.append((call, done))
        return done

    def work(self, most: int = 1_000_000) -> None:
        """Does what waits, and what that brings."""
        while self._calls and most:
            call, done = self._calls.popleft()
            maybeDeferred(call).chainDeferred(done)
            most -= 1


class OutboxCase(SynchronousTestCase):
    max_age = 86_400.0

    def setUp(self) -> None:
        self.prepare()

    def prepare(self) -> None:
        self.clock = Clock()
        self.thread = Thread()
        self.path = folder(self) / "web1.spool"
        self.wakes = 0
        self.sampled = 0
        self.start()

    def start(self) -> None:
        """A new run of the agent."""
        spool = Spool(self.path, 64 << 20, self.max_age, lambda text: None, lambda: NOW + self.sampled)
        self.outbox = Outbox(spool, self.thread.run, self.clock)
        self.outbox.listen(self.wake)
        self.outbox.startService()
        self.addCleanup(spool.close)
        self.thread.work()

    def restart(self) -> None:
        self.outbox.stopService()
        self.thread.work()
        self.start()

    def wake(self) -> None:
        self.wakes += 1

    def sample(self, count: int = 1) -> None:
        """Rounds whose time and one value count them, from 1 on."""
        for _ in range(count):
            self.sampled += 1
            self.outbox.add(NOW + self.sampled, {"cpu": float(self.sampled)})
        self.thread.work()

    def connect(self) -> None:
        self.outbox.opened()
        self.thread.work()

    def due(self) -> list[tuple[int, int]]:
        """(seq, number) of the rounds to be sent now, and what that brings."""
        found = read(self.outbox.due())
        self.thread.work()
        return found


def read(lines: bytes) -> list[tuple[int, int]]:
    messages = [orjson.loads(line) for line in lines.splitlines()]
    return [(message["seq"], int(message["values"][0])) for message in messages if message["type"] == "samples"]


class OutboxTests(OutboxCase):
    def test_without_a_connection(self) -> None:
        """Rounds wait; there is nothing to send."""
        self.sample(3)
        self.assertEqual((self.outbox.due(), self.outbox.waiting), (b"", 3))

    def test_on_disk_first(self) -> None:
        """A round is on disk before it is sent."""
        self.connect()
        self.outbox.add(NOW + 1, {"cpu": 1.0})
        self.assertEqual(self.due(), [])
        self.thread.work()
        self.assertEqual(self.wakes > 0 and self.due(), [(1, 1)])

    def test_new_ones(self) -> None:
        """Rounds are sent as they come, once each, and forgotten when they are confirmed."""
        self.connect()
        for number in (1, 2, 3):
            self.sample()
            self.assertEqual(self.due(), [(number, number)])
        self.assertEqual(self.due(), [])
        self.outbox.confirm(2)
        self.assertEqual(self.outbox.waiting, 1)
        self.restart()
        self.connect()
        self.assertEqual(self.due() + self.due(), [(1, 3)])

    def test_waiting_ones(self) -> None:
        """What has waited is sent oldest first, each that is confirmed soon letting more follow."""
        self.sample(7)
        self.connect()
        self.assertEqual([*self.due(), *self.due()], [(1, 1)])
        self.outbox.confirm(1)
        self.assertEqual(self.due(), [(2, 2), (3, 3)])
        self.outbox.confirm(3)
        self.assertEqual(self.due(), [(4, 4), (5, 5), (6, 6), (7, 7)])
        self.outbox.confirm(7)
        self.assertEqual((self.due(), self.outbox.waiting), ([], 0))

    def test_new_before_old(self) -> None:
        """A new round is sent at once, however much waits, and not a second time in its turn."""
        self.sample(100)
        self.connect()
        self.assertEqual([*self.due(), *self.due()], [(1, 1)])
        self.sample()
        self.assertEqual(self.due(), [(2, 101)])
        sent = [1, 101]
        for _ in range(200):
            self.outbox.confirm(len(sent))
            sent += [number for _, number in self.due()]
        self.assertEqual(sent, [1, 101, *range(2, 101)])
        self.assertEqual(self.outbox.waiting, 0)

    def test_collector_confirms_nothing(self) -> None:
        """Only so many are under way; the others wait on disk, and follow when the first are confirmed."""
        self.connect()
        self.sample(MAX_LIVE + 5)
        self.assertEqual([number for _, number in self.due()], list(range(1, MAX_LIVE + 1)))
        self.assertEqual([number for _, number in [*self.due(), *self.due()]], [MAX_LIVE + 1])
        self.outbox.confirm(MAX_LIVE + 1)
        self.assertEqual([number for _, number in self.due()], [MAX_LIVE + 2, MAX_LIVE + 3])

    def test_connection_lost(self) -> None:
        """What was under way is sent on the next connection, in order, with seqs from 1."""
        self.connect()
        self.sample(3)
        self.due()
        self.outbox.confirm(1)
        self.outbox.closed()
        self.sample()
        self.connect()
        self.assertEqual([*self.due(), *self.due()], [(1, 2)])
        self.outbox.confirm(1)
        self.assertEqual(self.due(), [(2, 3), (3, 4)])

    def test_words_of_the_past(self) -> None:
        """Answers without a connection, or to what was not sent, change nothing."""
        self.sample(2)
        for _ in range(2):
            self.outbox.confirm(9)
            self.outbox.refuse(9, "no")
            self.outbox.noted(9)
            self.assertEqual(self.outbox.resend(9), b"")
            self.connect()
        self.assertEqual(self.outbox.waiting, 2)

    def test_page_of_the_last_connection(self) -> None:
        """What was read for a connection that has ended is not sent out of turn on the next one."""
        self.sample(40)
        self.outbox.opened()
        self.outbox.due()
        self.outbox.closed()
        self.outbox.opened()
        self.thread.work()
        self.assertEqual([*self.due(), *self.due()], [(1, 1)])

    def test_sampled_while_reading(self) -> None:
        """A round that is kept while old ones are being read is sent once."""
        self.sample(3)
        self.outbox.opened()
        self.outbox.add(NOW + 4, {"cpu": 4.0})
        self.outbox.due()
        self.thread.work()
        sent = [number for _, number in self.due()]
        for _ in range(5):
            self.outbox.confirm(len(sent))
            sent += [number for _, number in self.due()]
        self.assertEqual(sorted(sent), [1, 2, 3, 4])

    def test_again(self) -> None:
        """What the collector had no room for is sent again with the same seqs."""
        self.connect()
        self.sample(3)
        self.due()
        self.assertEqual(read(self.outbox.resend(2)), [(2, 2), (3, 3)])
        self.outbox.confirm(3)
        self.assertEqual(self.outbox.waiting, 0)

    def test_refused(self) -> None:
        """What is refused is forgotten and counted; the log is told of the first, and of each doubling."""
        self.connect()
        self.sample(9)
        self.due()
        with logged() as log:
            for seq in range(1, 10):
                self.outbox.refuse(seq, "too old")
        self.assertEqual(
            [text.partition("(")[2] for text in log.warnings], [f"{n} rounds so far)" for n in (1, 2, 4, 8)]
        )
        self.assertEqual(self.outbox.figures(), {"perfmon.agent.spooled": 0.0, "perfmon.agent.dropped": 9.0})
        self.restart()
        self.connect()
        self.assertEqual([*self.due(), *self.due()], [])

    def test_broken_spool(self) -> None:
        """A spool that fails is logged; the agent goes on."""
        self.sample()
        self.patch(self.outbox._spool, "put", lambda *_: 1 / 0)
        self.sample()
        self.patch(self.outbox._spool, "page", lambda *_: 1 / 0)
        self.connect()
        self.assertEqual([*self.due(), *self.due()], [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)


class GapTests(OutboxCase):
    max_age = 100.0

    def gaps(self) -> list[dict[str, Any]]:
        messages = [orjson.loads(line) for line in self.outbox.due().splitlines()]
        self.thread.work()
        return [message for message in messages if message["type"] == "gap"]

    def lose(self, count: int) -> None:
        self.sample(count)
        self.sampled += 1_000
        self.sample()

    def test_told(self) -> None:
        """What had to go is told of once on each connection, until it is noted."""
        self.lose(3)
        self.assertEqual(self.gaps(), [])
        self.connect()
        (gap,) = self.gaps()
        self.assertEqual((gap["rounds"], gap["start"], gap["stop"]), (3, NOW + 1, NOW + 3))
        self.assertEqual(self.gaps(), [])
        self.outbox.closed()
        self.connect()
        self.assertEqual(self.gaps(), [gap])
        self.outbox.noted(gap["id"])
        self.thread.work()
        self.outbox.closed()
        self.connect()
        self.assertEqual(self.gaps(), [])
        self.assertEqual(self.outbox.figures()["perfmon.agent.dropped"], 3.0)

    def test_next(self) -> None:
        """The next one is told of when the first is noted."""
        self.lose(3)
        self.connect()
        (first,) = self.gaps()
        self.outbox.closed()
        self.lose(2)
        self.connect()
        self.assertEqual(self.gaps(), [first])
        self.outbox.noted(first["id"])
        self.thread.work()
        (second,) = self.gaps()
        self.assertEqual(second["rounds"], 3)

    def test_after_a_restart(self) -> None:
        """The next run of the agent tells of it too."""
        self.lose(3)
        self.restart()
        self.connect()
        self.assertEqual(len(self.gaps()), 1)


_STEPS = st.lists(
    st.one_of(
        st.sampled_from(["sample", "work", "work one", "send", "connect", "cut", "restart", "pause"]),
        st.tuples(st.sampled_from(["confirm", "refuse", "resend"]), st.integers(1, 12)),
    ),
    max_size=60,
)


class HistoryTests(OutboxCase):
    @given(_STEPS)
    @settings(max_examples=150, deadline=None)
    def test_whatever_happens(self, steps: list[Any]) -> None:
        """However it comes, in the end each round was confirmed or refused, and seqs rose by one on each connection."""
        self.prepare()
        collector = _Collector()
        for step in steps:
            self.step(step, collector)
        self.step("cut", collector)
        self.step("connect", collector)
        for _ in range(100):
            self.thread.work()
            self.step("send", collector)
            self.outbox.confirm(collector.confirm(1_000))
        self.assertEqual(self.outbox.waiting, 0)
        self.assertEqual(collector.stored | collector.refused, set(range(1, self.sampled + 1)))
        self.assertEqual(collector.again_after_answer, 0)
        self.doCleanups()

    def step(self, step: Any, collector: "_Collector") -> None:
        if step == "sample":
            self.sampled += 1
            self.outbox.add(NOW + self.sampled, {"cpu": float(self.sampled)})
        elif step == "work":
            self.thread.work()
        elif step == "work one":
            self.thread.work(1)
        elif step == "pause":
            self.clock.advance(2)
        elif step == "connect" and not collector.connected:
            collector.connect()
            self.outbox.opened()
        elif step == "cut" and collector.connected:
            collector.connected = False
            self.outbox.closed()
        elif step == "restart":
            self.step("cut", collector)
            self.restart()
            collector.answered.clear()  # what the last run was told may be lost with it
        elif step == "send":
            collector.take(read(self.outbox.due()))
        elif isinstance(step, tuple) and collector.connected:
            what, seq = step
            if what == "confirm":
                self.outbox.confirm(collector.confirm(seq))
            elif what == "refuse" and collector.refuse(seq):
                self.outbox.refuse(seq, "no")
            elif what == "resend":
                sent = read(self.outbox.resend(seq))
                assert sent == [(each, number) for each, number in collector.open.items() if each >= seq]


class _Collector:
    """What a collector makes of what it is sent, on one connection after the other."""

    def __init__(self) -> None:
        self.connected = False
        self.open: dict[int, int] = {}  # seq to number, on this connection
        self.last = 0
        self.stored: set[int] = set()
        self.refused: set[int] = set()
        self.answered: set[int] = set()
        self.again_after_answer = 0

    def connect(self) -> None:
        self.connected, self.open, self.last = True, {}, 0

    def take(self, rounds: list[tuple[int, int]]) -> None:
        for seq, number in rounds:
            assert seq == self.last + 1
            self.last = seq
            self.open[seq] = number
            self.again_after_answer += number in self.answered

    def confirm(self, seq: int) -> int:
        """Stores what has come up to `seq`, and says so."""
        done = [each for each in self.open if each <= seq]
        numbers = {self.open.pop(each) for each in done}
        self.stored |= numbers
        self.answered |= numbers
        return max(done, default=0)

    def refuse(self, seq: int) -> bool:
        number = self.open.pop(seq, None)
        if number is not None:
            self.refused.add(number)
            self.answered.add(number)
        return number is not None
