"""A benchmark run that is not over, as a collector knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from perfmon.core.benchmarks import QUEUED, HostRun, Spec
from perfmon.core.loads import BadLoad, Echo, Paired, checked_load
from perfmon.core.messages import Cancel, Figures, OfRuns, Peer, Peers, Progress, Result, Run
from perfmon.core.pairs import COLLECTOR, Meeting, meetings

# Figures that are kept of one host, and of one pair; ours tell a dozen.
MAX_FIGURES = 100

# So long after the start hosts that are to meet others are told of those that are ready, if not all are: a run that
# begins late, and says so, is worth more than one in which pairs are missing. An agent waits for twice as long.
PATIENCE = 5.0  # s


@dataclass(slots=True)
class OpenRun:
    """What was asked for, and how it is."""

    spec: Spec
    due: float  # s since the epoch
    hosts: dict[str, HostRun] = field(default_factory=dict)  # that have told of it
    left: set[str] = field(default_factory=set)  # hosts that have not ended
    cancelled: str | None = None
    meetings: Mapping[str, list[Meeting]] = field(default_factory=dict)  # by host, where they meet each other
    with_collector: bool = False  # whether it is the collector whom they meet
    answering: int = 0  # port on which this collector does
    parted: bool = False  # whether they know whom they meet

    def __post_init__(self) -> None:
        self.left.update(self.spec.hosts)
        try:
            load = checked_load(self.spec.kind, self.spec.parameters)
        except BadLoad:  # of a later version, that another collector runs: its agents say so
            return
        if isinstance(load, Paired):
            self.meetings = meetings(load, self.spec.hosts)
            self.with_collector = isinstance(load, Echo) and load.pairs == "collector" and not load.to

    @property
    def queued(self) -> bool:
        return self.spec.start == QUEUED

    def take(self, told: Mapping[str, HostRun]) -> None:
        """How it is on some hosts."""
        self.hosts.update(told)
        self.left.difference_update(host for host, at in told.items() if at.ended)

    def orders(self, host: str) -> list[OfRuns]:
        """What the agent of this host, which has just come, or for which it is new, is to hear."""
        spec = self.spec
        if host not in self.left or self.queued:
            return []
        if self.cancelled is not None:
            return [Cancel(spec.id, self.cancelled)]
        begun = self.hosts.get(host, HostRun()).began is not None
        run = Run(spec.id, spec.kind, spec.parameters, spec.start, spec.seconds, begun)
        return [run, self._peers(host)] if self.parted and not begun else [run]

    def part(self, now: float) -> bool:
        """Whether all are ready now to be told whom they meet, or were waited for long enough; True once only."""
        if not self.meetings or self.parted or self.queued:
            return False
        ready = self.answering > 0 if self.with_collector else all(map(self._answers, self.left))
        self.parted = ready or now > self.spec.start + PATIENCE
        return self.parted

    def peers(self) -> dict[str, Peers]:
        """For each host that has not ended, whom it meets."""
        return {host: self._peers(host) for host in self.left}

    def _answers(self, host: str) -> bool:
        return "port" in self.hosts.get(host, HostRun()).expected

    def _peers(self, host: str) -> Peers:
        return Peers(self.spec.id, [self._peer(meeting) for meeting in self.meetings[host]])

    def _peer(self, meeting: Meeting) -> Peer:
        if meeting.peer == COLLECTOR and self.with_collector:
            return Peer(COLLECTOR, "", self.answering, meeting.after)
        expected = self.hosts.get(meeting.peer, HostRun()).expected
        port = expected.get("port", 0)
        return Peer(meeting.peer, str(expected.get("address", "")), port if isinstance(port, int) else 0, meeting.after)


def progress_of(told: Progress) -> HostRun:
    """What is kept of an agent's progress."""
    state = "ready" if told.began is None else "running"
    return HostRun(state, "", told.began, told.share, _bounded(told.expected), _bounded(told.figures))


def end_of(told: Result, participants: int) -> HostRun:
    """What is kept of an agent's result; it cannot have met more than there are."""
    share = 1.0 if told.state == "done" else 0.0
    pairs = {peer[:300]: _bounded(figures) for peer, figures in list(told.pairs.items())[:participants]}
    figures = _bounded(told.expected), _bounded(told.figures)
    return HostRun(told.state, told.reason[:500], told.began, share, *figures, pairs, bool(told.output))


def _bounded(figures: Figures) -> Figures:
    """What is kept of an agent's figures: it may be any, and send any."""
    some = list(figures.items())[:MAX_FIGURES]
    return {name[:100]: value[:200] if isinstance(value, str) else value for name, value in some}
