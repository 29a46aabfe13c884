"""Who is there: a pure keeper of states that is told of signs and of the time, and returns transitions.

`up`       signs arrive
`late`     an agent missed its heartbeat
`departed` an agent gave no sign for the heartbeat timeout
`left`     an agent said goodbye
`silent`   a sender without heartbeats (Graphite, HTTP) sent nothing for the silence timeout
`absent`   gone in one of these ways, as somebody has planned it
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    UP = "up"
    LATE = "late"
    DEPARTED = "departed"
    LEFT = "left"
    SILENT = "silent"
    ABSENT = "absent"

    @property
    def gone(self) -> bool:
        """Whether the host is not there; a late one is."""
        return self not in (State.UP, State.LATE)


@dataclass(frozen=True, slots=True)
class Transition:
    """A host changed its state."""

    host: str
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long without a sign (s)."""

    late: float  # until an agent is late
    departed: float  # until it has departed
    silent: float  # until a sender without heartbeats is silent


class Presence:
    """States of all hosts. A sign of life costs O(1); finding those who are due costs O(transitions).

    Time is the caller's monotonic clock, and counts only as far as the caller was awake: a step longer than
    `max_step` s since it last said so (a frozen process, a suspended machine) counts as `max_step`. What is missing
    is added to every deadline, so nobody is declared gone because the watcher slept.
    """

    def __init__(self, timeouts: Timeouts, now: float, max_step: float = 1.0) -> None:
        self._timeouts = timeouts
        self._max_step = max_step
        self._now = now  # of the caller, when it last said so
        self._awake = 0.0  # s the caller was awake since the start; all deadlines are in these
        # Each is ordered by the last sign, so the next to time out is always the first.
        self._up: OrderedDict[str, float] = OrderedDict()
        self._late: OrderedDict[str, float] = OrderedDict()
        self._passive: OrderedDict[str, float] = OrderedDict()
        self._gone: dict[str, State] = {}
        self._doubted: set[str] = set()  # of the first and the third: as `watch` says

    def __iter__(self) -> Iterator[str]:
        for group in (self._up, self._late, self._passive, self._gone):
            yield from group

    def state(self, host: str) -> State | None:
        """State of `host`, None if it is not known."""
        if host in self._late or host in self._doubted:
            return State.LATE
        if host in self._up or host in self._passive:
            return State.UP
        return self._gone.get(host)

    def wake(self, now: float) -> float:
        """The caller is awake at `now` (s, monotonic). Returns for how long it was, all in all (s)."""
        self._awake += min(max(now - self._now, 0.0), self._max_step)
        self._now = now
        return self._awake

    def sign(self, host: str, beating: bool = True) -> Transition | None:
        """A sign of life, as of the last `wake`; `beating` says whether heartbeats are to be expected from it."""
        group = self._up if beating else self._passive
        if host in group:
            group[host] = self._awake
            group.move_to_end(host)
            if host in self._doubted:
                self._doubted.remove(host)
                return Transition(host, State.UP)
            return None
        if not beating and (host in self._up or host in self._late):
            return None  # an agent's host may be sent to by others too; its heartbeats decide
        before = self.forget(host)
        group[host] = self._awake
        return Transition(host, State.UP) if before is not State.UP else None

    def leave(self, host: str, reason: str) -> Transition | None:
        """`host` says goodbye."""
        before = self.forget(host)
        self._gone[host] = State.LEFT
        return Transition(host, State.LEFT, reason) if before is not State.LEFT else None

    def watch(self, host: str, beating: bool = True, doubted: bool = False, since_start: bool = False) -> None:
        """Takes over a host that was there, from an earlier run or from another collector; `beating` as in `sign`.

        It counts as seen now, or when the caller started, and so has the whole timeout: signs that it has given may
        have been heard by nobody. It is `doubted` if it is known as late, or worse; its next sign is then a transition,
        and that it is late is none.
        """
        self.forget(host)
        group = self._up if beating else self._passive
        group[host] = 0.0 if since_start else self._awake
        if since_start:
            group.move_to_end(host, last=False)
        if doubted:
            self._doubted.add(host)

    def forget(self, host: str) -> State | None:
        """Drops `host`; returns the state it had."""
        before = self.state(host)
        for group in (self._up, self._late, self._passive, self._gone):
            group.pop(host, None)
        self._doubted.discard(host)
        return before

    def due(self, awake: float) -> list[Transition]:
        """Who has timed out by a moment, which is what `wake` returned then.

        A sign that was given before that moment may be waiting to be read. So the caller reads all that had arrived by
        then, tells of the signs, and asks after that.
        """
        changes = []
        for host, sign in _due(self._up, awake - self._timeouts.late):
            self._late[host] = sign
            if sign == 0.0:  # taken over after others had become late, and before all of them
                self._late.move_to_end(host, last=False)
            if host in self._doubted:
                self._doubted.remove(host)
            else:
                changes.append(Transition(host, State.LATE))
        for host, _ in _due(self._late, awake - self._timeouts.departed):
            self._gone[host] = State.DEPARTED
            changes.append(Transition(host, State.DEPARTED, "timeout"))
        for host, _ in _due(self._passive, awake - self._timeouts.silent):
            self._doubted.discard(host)
            self._gone[host] = State.SILENT
            changes.append(Transition(host, State.SILENT, "timeout"))
        return changes


def _due(group: OrderedDict[str, float], limit: float) -> Iterator[tuple[str, float]]:
    """Takes out, oldest first, every host whose last sign is not after `limit`."""
    while group:
        host, sign = next(iter(group.items()))
        if sign > limit:
            return
        del group[host]
        yield host, sign
