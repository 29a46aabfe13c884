"""Which events are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfmon.core.globs import pattern
from perfmon.core.presence import State

# What can happen to hosts: they come into a state, an agent had no room for rounds, or somebody removed them.
KINDS = (*(state.value for state in State), "gap", "removed")
ALL_KINDS = frozenset(KINDS)


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A part of the events. Raises ValueError for a pattern that is too long."""

    since: str  # an event's id, or ms since the epoch: what came after it
    limit: int  # most events
    newest: bool = False  # the newest first, else the oldest
    until: str = ""  # an id, or ms since the epoch: what came before it; empty: up to now
    host: str = "*"  # glob
    kinds: frozenset[str] = ALL_KINDS

    def __post_init__(self) -> None:
        pattern(self.host)

    @property
    def all(self) -> bool:
        """Whether every event of its time is asked for."""
        return self.host == "*" and self.kinds == ALL_KINDS

    def hosts_of(self, kind: str, hosts: Sequence[str]) -> list[str]:
        """Those of an event's hosts that are asked for; none where the event is not."""
        return list(filter(pattern(self.host).matches, hosts)) if kind in self.kinds else []
