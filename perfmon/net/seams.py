"""What sessions need of the services around them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from perfmon.core.messages import Gap, OfRuns, Progress, Result
from perfmon.core.numbering import Columns, Numbering, Row
from perfmon.core.reject import Rejected


class Source(Protocol):
    """Where input comes from: can be paused."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Sender(Protocol):
    """Who is told what was stored."""

    def stored(self, seq: int) -> None:
        """All that this sender handed in up to `seq` is stored."""


class Intake(Protocol):
    """Takes in samples and stores them."""

    @property
    def numbering(self) -> Numbering: ...
    @property
    def paused(self) -> bool:
        """Whether the sources are held up."""

    def attach(self, source: Source) -> None: ...
    def detach(self, source: Source) -> None: ...
    def add_columns(self, columns: Columns) -> None: ...
    def add_row(self, row: Row, sender: Sender | None = None, seq: int = 0) -> None: ...


class PresenceSeam(Protocol):
    """Is told who gives signs of life."""

    def arrived(self, host: str, boot: str) -> None:
        """The agent of `host` has introduced itself; that is a sign, too. `boot` identifies the boot of its machine."""

    def sign(self, host: str, beating: bool = True) -> None: ...
    def describe(self, host: str, meta: dict[str, str]) -> None: ...
    def leave(self, host: str, reason: str) -> None: ...
    def lost(self, host: str, why: str) -> None:
        """The connection of `host` has ended without a goodbye: if it does not come back, it has departed for that."""


class RefusalSeam(Protocol):
    """Is told what was refused."""

    def note(self, rejected: Iterable[Rejected], peer: object) -> None: ...


class GapSeam(Protocol):
    """Is told of rounds that agents have lost."""

    def note(self, host: str, gap: Gap, noted: Callable[[], None]) -> None:
        """Calls `noted` once it is kept."""


class Controlled(Protocol):
    """Who can be told how to sample."""

    def order_stopped(self, stopped: bool) -> None: ...
    def order_interval(self, interval: float) -> None: ...


class ControlSeam(Protocol):
    """Is told who is here, and how it samples."""

    def arrived(self, host: str, agent: Controlled, stopped: bool, interval: float) -> None: ...
    def said(self, host: str, stopped: bool, interval: float) -> None: ...
    def gone(self, host: str, agent: Controlled) -> None: ...


class Runner(Protocol):
    """Who can run benchmarks."""

    def tell(self, message: OfRuns) -> None: ...


class RunsSeam(Protocol):
    """Is told who is here, and how benchmarks go."""

    def arrived(self, host: str, agent: Runner) -> None: ...
    def said(self, host: str, message: Progress | Result, agent: Runner) -> None: ...
    def gone(self, host: str, agent: Runner) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every session works with."""

    intake: Intake
    presence: PresenceSeam
    refusals: RefusalSeam
    gaps: GapSeam
    control: ControlSeam
    runs: RunsSeam
    clock: IReactorTime
    wall: Callable[[], float]  # s since the epoch
    kept: float  # s, how long samples are kept as they are
