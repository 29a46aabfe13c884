"""Who is there: a pure keeper of states that is advanced with the time and returns transitions.

`up`       signs arrive
`late`     an agent missed its heartbeat
`departed` an agent gave no sign for the heartbeat timeout
`left`     an agent said goodbye
`silent`   a sender without heartbeats (Graphite, HTTP) sent nothing for the silence timeout
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    UP = "up"
    LATE = "late"
    DEPARTED = "departed"
    LEFT = "left"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Transition:
    """A host changed its state."""

    host: str
    state: State
    before: State | None  # None: not known so far
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long without a sign (s)."""

    late: float  # until an agent is late
    departed: float  # until it has departed
    silent: float  # until a sender without heartbeats is silent


class Presence:
    """States of all hosts. A sign of life costs O(1); advancing costs O(transitions).

    Time is the caller's monotonic clock, and counts only as far as the caller was awake: a step longer than
    `max_step` s since the last `advance` (a frozen process, a suspended machine) counts as `max_step`. What
    is missing is added to every deadline, so nobody is declared gone because the watcher slept.
    """

    def __init__(self, timeouts: Timeouts, now: float, max_step: float = 1.0) -> None:
        self._timeouts = timeouts
        self._max_step = max_step
        self._now = now  # of the caller, at the last advance
        self._awake = 0.0  # s the caller was awake since the start; all deadlines are in these
        # Each is ordered by the last sign, so the next to time out is always the first.
        self._up: OrderedDict[str, float] = OrderedDict()
        self._late: OrderedDict[str, float] = OrderedDict()
        self._passive: OrderedDict[str, float] = OrderedDict()
        self._gone: dict[str, State] = {}

    def __iter__(self) -> Iterator[str]:
        for group in (self._up, self._late, self._passive, self._gone):
            yield from group

    def count(self) -> Counter[State]:
        """Number of hosts in each state."""
        return Counter(self._gone.values()) + Counter(
            {State.UP: len(self._up) + len(self._passive), State.LATE: len(self._late)}
        )

    def state(self, host: str) -> State | None:
        """State of `host`, None if it is not known."""
        if host in self._up or host in self._passive:
            return State.UP
        if host in self._late:
            return State.LATE
        return self._gone.get(host)

    def sign(self, host: str, beating: bool = True) -> Transition | None:
        """A sign of life, now; `beating` says whether heartbeats are to be expected from it."""
        group = self._up if beating else self._passive
        if host in group:
            group[host] = self._awake
            group.move_to_end(host)
            return None
        if not beating and (host in self._up or host in self._late):
            return None  # an agent's host may be sent to by others too; its heartbeats decide
        before = self.forget(host)
        group[host] = self._awake
        return Transition(host, State.UP, before) if before is not State.UP else None

    def leave(self, host: str, reason: str) -> Transition | None:
        """`host` says goodbye."""
        before = self.forget(host)
        self._gone[host] = State.LEFT
        return Transition(host, State.LEFT, before, reason) if before is not State.LEFT else None

    def settle(self, host: str, state: State, beating: bool = True) -> None:
        """Takes over a state known from elsewhere: the host of an earlier run, or of another collector.

        `beating` as in `sign`. One that is up counts as seen now, one that is late as late since now.
        """
        self.forget(host)
        if state is State.UP:
            group = self._up if beating else self._passive
            group[host] = self._awake
        elif state is State.LATE:
            # No sign among the late is after this one, and none that will join them is before it.
            self._late[host] = self._awake - self._timeouts.late
        else:
            self._gone[host] = state

    def forget(self, host: str) -> State | None:
        """Drops `host`; returns the state it had."""
        before = self.state(host)
        for group in (self._up, self._late, self._passive, self._gone):
            group.pop(host, None)
        return before

    def advance(self, now: float) -> list[Transition]:
        """Moves to `now` (s, monotonic); returns what that changes."""
        self._awake += min(max(now - self._now, 0.0), self._max_step)
        self._now = now
        changes = []
        for host, sign in _due(self._up, self._awake - self._timeouts.late):
            self._late[host] = sign
            changes.append(Transition(host, State.LATE, State.UP))
        for host, _ in _due(self._late, self._awake - self._timeouts.departed):
            self._gone[host] = State.DEPARTED
            changes.append(Transition(host, State.DEPARTED, State.LATE, "timeout"))
        for host, _ in _due(self._passive, self._awake - self._timeouts.silent):
            self._gone[host] = State.SILENT
            changes.append(Transition(host, State.SILENT, State.UP, "timeout"))
        return changes


def _due(group: OrderedDict[str, float], limit: float) -> Iterator[tuple[str, float]]:
    """Takes out, oldest first, every host whose last sign is not after `limit`."""
    while group:
        host, sign = next(iter(group.items()))
        if sign > limit:
            return
        del group[host]
        yield host, sign
