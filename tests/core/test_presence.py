"""Tests for `perfmon.core.presence`."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nextafter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.presence import Presence, State, Timeouts, Transition

# Powers of two in seconds, so that sums are exact.
LATE, DEPARTED, SILENT = 4.0, 8.0, 16.0
TIMEOUTS = Timeouts(late=LATE, departed=DEPARTED, silent=SILENT)
START = 1000.0

# Absence is planned by people, and nothing that a keeper could find.
STATES = [state for state in State if state is not State.ABSENT]

UP_TO_LATE = Transition("web1", State.LATE)
LATE_TO_DEPARTED = Transition("web1", State.DEPARTED, "timeout")
UP_TO_SILENT = Transition("web1", State.SILENT, "timeout")


def awake(max_step: float = inf) -> Presence:
    return Presence(TIMEOUTS, START, max_step)


def advance(presence: Presence, now: float) -> list[Transition]:
    """Who has timed out at `now` (s), where no sign waits to be read."""
    return presence.due(presence.wake(now))


class PathTests(SynchronousTestCase):
    """Every way from one state to another."""

    def in_state(self, state: State | None) -> Presence:
        """A keeper that has web1 in `state`."""
        presence = awake()
        if state is State.SILENT:
            presence.sign("web1", beating=False)
            advance(presence, START + SILENT)
        elif state is not None:
            presence.sign("web1")
        if state is State.LATE:
            advance(presence, START + LATE)
        elif state is State.DEPARTED:
            advance(presence, START + DEPARTED)
        elif state is State.LEFT:
            presence.leave("web1", "stopped")
        self.assertEqual(presence.state("web1"), state)
        return presence

    def test_sign(self) -> None:
        """A sign brings a host up from any state, told of once."""
        for before in (None, *STATES):
            presence = self.in_state(before)
            expected = None if before is State.UP else Transition("web1", State.UP)
            self.assertEqual(presence.sign("web1"), expected, before)
            self.assertEqual(presence.state("web1"), State.UP)
            self.assertIsNone(presence.sign("web1"))

    def test_sign_without_heartbeats(self) -> None:
        """A sender's sign brings a host up, unless its own agent is being waited for."""
        for before in (None, *STATES):
            presence = self.in_state(before)
            waited_for = before in (State.UP, State.LATE)
            expected = None if waited_for else Transition("web1", State.UP)
            self.assertEqual(presence.sign("web1", beating=False), expected, before)
            self.assertEqual(presence.state("web1"), before if waited_for else State.UP)
            self.assertIsNone(presence.sign("web1", beating=False))

    def test_leave(self) -> None:
        """A goodbye is told of from any state, once, with its reason."""
        for before in (None, *STATES):
            presence = self.in_state(before)
            expected = None if before is State.LEFT else Transition("web1", State.LEFT, "upgrade")
            self.assertEqual(presence.leave("web1", "upgrade"), expected, before)
            self.assertEqual(presence.state("web1"), State.LEFT)
            self.assertIsNone(presence.leave("web1", "upgrade"))
            self.assertEqual(advance(presence, START + 1000), [])

    def test_forget(self) -> None:
        """A forgotten host is unknown, and nothing is told of it any more."""
        for before in (None, *STATES):
            presence = self.in_state(before)
            self.assertEqual(presence.forget("web1"), before)
            self.assertIsNone(presence.state("web1"))
            self.assertEqual(list(presence), [])
            self.assertIsNone(presence.forget("web1"))
            self.assertEqual(advance(presence, START + 1000), [])

    def test_gone_stay_gone(self) -> None:
        """A host that is gone stays so, however long, until it gives a sign."""
        for state in filter(lambda state: state.gone, STATES):
            presence = self.in_state(state)
            self.assertEqual(advance(presence, START + 1e6), [])
            self.assertEqual(presence.state("web1"), state)

    def test_iteration(self) -> None:
        """Every known host is listed once, whatever its state."""
        for state in STATES:
            self.assertEqual(list(self.in_state(state)), ["web1"])


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.presence = awake()

    def assert_changes(self, *expected: tuple[float, Transition]) -> None:
        """Each transition comes exactly at its time (s after the start), and not a moment before."""
        for after, transition in expected:
            self.assertEqual(advance(self.presence, nextafter(START + after, 0)), [], after)
            self.assertEqual(advance(self.presence, START + after), [transition], after)
        self.assertEqual(advance(self.presence, START + 1e6), [])

    def test_agent(self) -> None:
        """An agent without a sign is late, then departed, exactly at the timeouts."""
        self.presence.sign("web1")
        self.assert_changes((LATE, UP_TO_LATE), (DEPARTED, LATE_TO_DEPARTED))

    def test_agent_with_signs(self) -> None:
        """Each sign puts the deadlines off."""
        self.presence.sign("web1")
        for second in (3, 6, 9):
            self.assertEqual(advance(self.presence, START + second), [])
            self.assertIsNone(self.presence.sign("web1"))
        self.assert_changes((9 + LATE, UP_TO_LATE), (9 + DEPARTED, LATE_TO_DEPARTED))

    def test_late_comes_back(self) -> None:
        """A late agent that gives a sign has its whole time again."""
        self.presence.sign("web1")
        self.assertEqual(advance(self.presence, START + 5), [UP_TO_LATE])
        self.assertEqual(self.presence.sign("web1"), Transition("web1", State.UP))
        self.assert_changes((5 + LATE, UP_TO_LATE), (5 + DEPARTED, LATE_TO_DEPARTED))

    def test_sender(self) -> None:
        """A sender without heartbeats is never late; it is silent exactly at its timeout."""
        self.presence.sign("web1", beating=False)
        self.assert_changes((SILENT, UP_TO_SILENT))

    def test_sender_with_signs(self) -> None:
        """Whatever a sender sends puts its deadline off."""
        self.presence.sign("web1", beating=False)
        advance(self.presence, START + 10)
        self.assertIsNone(self.presence.sign("web1", beating=False))
        self.assert_changes((10 + SILENT, UP_TO_SILENT))

    def test_sender_becomes_agent(self) -> None:
        """Once a sender's host has an agent, the agent's timeouts are the ones that count."""
        self.presence.sign("web1", beating=False)
        advance(self.presence, START + 1)
        self.assertIsNone(self.presence.sign("web1"))
        self.assertEqual(list(self.presence), ["web1"])
        self.assert_changes((1 + LATE, UP_TO_LATE), (1 + DEPARTED, LATE_TO_DEPARTED))

    def test_senders_do_not_keep_an_agent(self) -> None:
        """What others send to an agent's host is no sign of life of the agent."""
        self.presence.sign("web1")
        for second in range(1, 8):
            advance(self.presence, START + second)
            self.assertIsNone(self.presence.sign("web1", beating=False))
        self.assertEqual(self.presence.state("web1"), State.LATE)
        self.assertEqual(advance(self.presence, START + DEPARTED), [LATE_TO_DEPARTED])

    def test_one_sweep(self) -> None:
        """One step over both timeouts tells of both, in order."""
        self.presence.sign("web1")
        self.assertEqual(advance(self.presence, START + DEPARTED), [UP_TO_LATE, LATE_TO_DEPARTED])

    def test_the_oldest_first(self) -> None:
        """Of many that are due at once, the one heard longest ago comes first."""
        names = ["c", "a", "d", "b"]
        for second, name in enumerate(names):
            advance(self.presence, START + second)
            self.presence.sign(name)
        advance(self.presence, START + 3.5)
        self.presence.sign("c")
        departed = [change.host for change in advance(self.presence, START + 100) if change.state is State.DEPARTED]
        self.assertEqual(departed, ["a", "d", "b", "c"])

    def test_waiting_signs(self) -> None:
        """What had arrived by a moment counts, if it is read before it is asked who was due at that moment."""
        self.presence.sign("web1")
        self.presence.sign("web2")
        moment = self.presence.wake(START + LATE)
        self.presence.wake(START + LATE + 0.5)
        self.presence.sign("web1")
        self.assertEqual(self.presence.due(moment), [Transition("web2", State.LATE)])
        self.assertEqual(
            advance(self.presence, START + 2 * LATE + 0.25), [Transition("web2", State.DEPARTED, "timeout")]
        )
        self.assertEqual(advance(self.presence, START + 2 * LATE + 0.5), [UP_TO_LATE])

    def test_only_those_due(self) -> None:
        """One host's silence is not another's."""
        self.presence.sign("web1")
        advance(self.presence, START + 1)
        self.presence.sign("web2")
        self.assertEqual(advance(self.presence, START + LATE), [UP_TO_LATE])
        self.assertEqual(self.presence.state("web2"), State.UP)


class FreezeTests(SynchronousTestCase):
    """A watcher that slept is not a fleet that died."""

    def test_long_step(self) -> None:
        """However long a step, it counts as the longest allowed."""
        for slept in (1.0, 2.0, 3600.0, 1e9):
            presence = awake(max_step=1.0)
            presence.sign("web1")
            presence.sign("web2", beating=False)
            self.assertEqual(advance(presence, START + slept), [])
            self.assertEqual({presence.state("web1"), presence.state("web2")}, {State.UP})

    def test_deadlines_move_by_the_lag(self) -> None:
        """After a sleep the deadlines are later by exactly what did not count."""
        presence = awake(max_step=1.0)
        presence.sign("web1")
        advance(presence, START + 1)
        advance(presence, START + 101)
        for second in (102, 103 - 0.25):
            self.assertEqual(advance(presence, START + second), [])
        self.assertEqual(advance(presence, START + 103), [UP_TO_LATE])
        for second in (104, 105, 106, 107 - 0.25):
            self.assertEqual(advance(presence, START + second), [])
        self.assertEqual(advance(presence, START + 107), [LATE_TO_DEPARTED])

    def test_sender(self) -> None:
        """The deadline of a sender moves, too."""
        presence = awake(max_step=1.0)
        presence.sign("web1", beating=False)
        advance(presence, START + 1000)
        for second in range(1001, 1015):
            self.assertEqual(advance(presence, START + second), [], second)
        self.assertEqual(advance(presence, START + 1015), [UP_TO_SILENT])

    def test_small_steps_count(self) -> None:
        """Steps up to the longest allowed count in full."""
        for step in (0.25, 0.5, 1.0):
            presence = awake(max_step=1.0)
            presence.sign("web1")
            now = START
            changes: list[Transition] = []
            while not changes:
                now += step
                changes = advance(presence, now)
            self.assertEqual((changes, now), ([UP_TO_LATE], START + LATE))

    def test_clock_goes_back(self) -> None:
        """A clock that goes back counts for nothing, and goes on from there."""
        presence = awake()
        presence.sign("web1")
        advance(presence, START + 3)
        self.assertEqual(advance(presence, START - 500), [])
        self.assertEqual(advance(presence, START - 499.5), [])
        self.assertEqual(advance(presence, START - 499), [UP_TO_LATE])


class WatchTests(SynchronousTestCase):
    """Hosts taken over."""

    def setUp(self) -> None:
        self.presence = awake()
        advance(self.presence, START + 100)

    def test_known(self) -> None:
        """Whatever was known here of a host is not any more."""
        for beating in (True, False):
            for doubted in (True, False):
                self.presence.leave("web1", "stopped")
                self.presence.watch("web1", beating, doubted)
                self.assertEqual(self.presence.state("web1"), State.LATE if doubted else State.UP)
                self.assertEqual(list(self.presence), ["web1"])

    def test_sign_after(self) -> None:
        """A sign after it is told of, once, if the host was known as late or gone."""
        for beating in (True, False):
            for doubted in (True, False):
                self.presence.watch("web1", beating, doubted)
                expected = Transition("web1", State.UP) if doubted else None
                self.assertEqual(self.presence.sign("web1", beating), expected)
                self.assertIsNone(self.presence.sign("web1", beating))
                self.assertEqual(self.presence.state("web1"), State.UP)

    def test_up(self) -> None:
        """An agent that was up has its whole time from now on."""
        self.presence.watch("web1")
        self.assertEqual(advance(self.presence, START + 100 + LATE - 0.25), [])
        self.assertEqual(advance(self.presence, START + 100 + LATE), [UP_TO_LATE])
        self.assertEqual(advance(self.presence, START + 100 + DEPARTED), [LATE_TO_DEPARTED])

    def test_up_without_heartbeats(self) -> None:
        """A sender is not expected to beat: it is silent at its timeout, never late; also one that is doubted."""
        for start, doubted in ((100, False), (200, True)):
            advance(self.presence, START + start)
            self.presence.watch("web1", beating=False, doubted=doubted)
            self.assertEqual(advance(self.presence, START + start + SILENT - 0.25), [])
            self.assertEqual(advance(self.presence, START + start + SILENT), [UP_TO_SILENT])
            self.assertEqual(self.presence.state("web1"), State.SILENT)
        self.presence.watch("web1", beating=False)
        self.assertIsNone(self.presence.sign("web1", beating=False))

    def test_late(self) -> None:
        """An agent that was late has its whole time once more, is not told of as late again, and comes back."""
        self.presence.watch("web1", doubted=True)
        self.assertEqual(advance(self.presence, START + 100 + DEPARTED - 0.25), [])
        self.assertEqual(self.presence.state("web1"), State.LATE)
        self.assertEqual(advance(self.presence, START + 100 + DEPARTED), [LATE_TO_DEPARTED])
        for at, after in ((200, 0), (300, LATE)):
            advance(self.presence, START + at)
            self.presence.watch("web1", doubted=True)
            advance(self.presence, START + at + after)
            self.assertIsNone(self.presence.sign("web1", beating=False))
            self.assertEqual(self.presence.sign("web1"), Transition("web1", State.UP))
            self.assertIsNone(self.presence.sign("web1"))

    def test_among_others(self) -> None:
        """Hosts taken over, as of now and as of the start, hold up nobody, and nobody holds them up."""
        presence = awake()
        presence.sign("first")
        advance(presence, START + 3)
        presence.sign("second")
        advance(presence, START + 5)
        self.assertEqual(presence.state("first"), State.LATE)
        for state, doubted in (("up", False), ("late", True)):
            presence.watch(f"start {state}", doubted=doubted, since_start=True)
            presence.watch(f"now {state}", doubted=doubted)
        presence.watch("start sender", beating=False, since_start=True)
        gone = {}
        for quarter in range(5 * 4, 30 * 4):
            for change in advance(presence, START + quarter / 4):
                if change.state.gone:
                    gone[change.host] = quarter / 4
        self.assertEqual(
            gone,
            {
                "first": DEPARTED,
                "start up": DEPARTED,
                "start late": DEPARTED,
                "second": 3 + DEPARTED,
                "now up": 5 + DEPARTED,
                "now late": 5 + DEPARTED,
                "start sender": SILENT,
            },
        )


@dataclass
class Known:
    """What the model knows of a host."""

    state: State
    sign: float
    beating: bool


class Model:
    """The same rules told host by host, without any order: every advance looks at everyone."""

    def __init__(self, max_step: float) -> None:
        self.max_step = max_step
        self.now = START
        self.awake = 0.0
        self.hosts: dict[str, Known] = {}

    def state(self, host: str) -> State | None:
        return self.hosts[host].state if host in self.hosts else None

    def sign(self, host: str, beating: bool) -> Transition | None:
        before = self.state(host)
        known = self.hosts.get(host)
        if known and not beating and known.beating and known.state in (State.UP, State.LATE):
            return None
        self.hosts[host] = Known(State.UP, self.awake, beating)
        return None if before is State.UP else Transition(host, State.UP)

    def leave(self, host: str, reason: str) -> Transition | None:
        before = self.state(host)
        self.hosts[host] = Known(State.LEFT, self.awake, True)
        return None if before is State.LEFT else Transition(host, State.LEFT, reason)

    def watch(self, host: str, beating: bool, doubted: bool, since_start: bool) -> None:
        sign = 0.0 if since_start else self.awake
        self.hosts[host] = Known(State.LATE if doubted else State.UP, sign, beating)

    def advance(self, now: float) -> list[Transition]:
        self.awake += min(max(now - self.now, 0.0), self.max_step)
        self.now = now
        changes = []
        for host, known in self.hosts.items():
            quiet = self.awake - known.sign
            if known.state is State.UP and known.beating and quiet >= LATE:
                known.state = State.LATE
                changes.append(Transition(host, State.LATE))
            if known.state is State.LATE and known.beating and quiet >= DEPARTED:
                known.state = State.DEPARTED
                changes.append(Transition(host, State.DEPARTED, "timeout"))
            if known.state in (State.UP, State.LATE) and not known.beating and quiet >= SILENT:
                known.state = State.SILENT
                changes.append(Transition(host, State.SILENT, "timeout"))
        return changes


def in_order(changes: list[Transition]) -> list[Transition]:
    """By host, keeping the order of one host's transitions."""
    return sorted(changes, key=lambda change: change.host)


hosts = st.sampled_from(["a", "b", "c", "d"])
operations = st.one_of(
    st.tuples(st.just("sign"), hosts, st.booleans()),
    st.tuples(st.just("advance"), st.integers(-4, 40)),  # quarters of a second
    st.tuples(st.just("advance"), st.integers(0, 6)),
    st.tuples(st.just("leave"), hosts),
    st.tuples(st.just("forget"), hosts),
    st.tuples(st.just("watch"), hosts, st.booleans(), st.booleans(), st.booleans()),
)


class ModelTests(SynchronousTestCase):
    @settings(max_examples=200)
    @given(st.lists(operations, max_size=40), st.sampled_from([1.0, 5.0, inf]))
    def test_any_history(
        self, history: list[tuple[str, int] | tuple[str, str, *tuple[bool, ...]]], step: float
    ) -> None:
        """Whatever happens, transitions and states are those of the naive model."""
        presence, model = awake(step), Model(step)
        for operation in history:
            match operation:
                case ("sign", str(host), bool(beating)):
                    self.assertEqual(presence.sign(host, beating), model.sign(host, beating))
                case ("advance", int(quarters)):
                    now = model.now + quarters / 4
                    self.assertEqual(in_order(advance(presence, now)), in_order(model.advance(now)))
                case ("leave", str(host)):
                    self.assertEqual(presence.leave(host, "stopped"), model.leave(host, "stopped"))
                case ("forget", str(host)):
                    known = model.hosts.pop(host, None)
                    self.assertEqual(presence.forget(host), known.state if known else None)
                case ("watch", str(host), bool(beating), bool(doubted), bool(since_start)):
                    presence.watch(host, beating, doubted, since_start)
                    model.watch(host, beating, doubted, since_start)
                case _:
                    self.fail(f"unknown operation {operation}")
            for host in ("a", "b", "c", "d"):
                self.assertEqual(presence.state(host), model.state(host))
            self.assertEqual(sorted(presence), sorted(model.hosts))


class CountedName(str):
    """A host's name that counts how often any name is looked up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self) -> int:
        CountedName.lookups += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


def lookups(act: Callable[[], object]) -> int:
    before = CountedName.lookups
    act()
    return CountedName.lookups - before


class CostTests(SynchronousTestCase):
    """Cost is counted in look-ups of hosts, not in time."""

    def fleet(self, size: int) -> tuple[Presence, list[CountedName]]:
        presence = awake()
        names = [CountedName(f"h{number}") for number in range(size)]
        for number, name in enumerate(names):
            presence.sign(name, beating=number % 3 != 0)
        advance(presence, START + 1)
        return presence, names

    def test_sign(self) -> None:
        """A sign costs the same in a fleet of ten and of thousands, the oldest's as the newest's."""
        costs = set()
        for size in (10, 2002):
            presence, names = self.fleet(size)
            for name in (names[1], names[size // 6 * 3 + 1], names[size - 2]):
                costs.add(lookups(lambda name=name, presence=presence: presence.sign(name)))  # type: ignore[misc]  # lambda
        self.assertEqual(len(costs), 1, costs)
        self.assertLessEqual(costs.pop(), 5)

    def test_advance(self) -> None:
        """Advancing costs the same in any fleet while nobody is due, and then in proportion to those who are."""
        idle, due = set(), set()
        for size in (12, 1998):
            presence, names = self.fleet(size)
            idle.add(lookups(lambda presence=presence: advance(presence, START + 2)))  # type: ignore[misc]  # lambda
            for name in names[3:]:
                presence.sign(name, beating=int(name[1:]) % 3 != 0)
            due.add(lookups(lambda presence=presence: advance(presence, START + 5)))  # type: ignore[misc]  # lambda
            self.assertEqual(presence.state(names[1]), State.LATE)
            self.assertEqual(presence.state(names[4]), State.UP)
        self.assertEqual(len(idle), 1, idle)
        self.assertEqual(len(due), 1, due)
        self.assertLessEqual(max(idle | due), 20)
