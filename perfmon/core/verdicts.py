"""What rightsizing says of a machine."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What is to become of a machine."""

    RECLAIM = "reclaim"
    SHRINK = "shrink"
    KEEP = "keep"
    GROW = "grow"
    INSUFFICIENT = "insufficient-data"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that held: a figure against its limit."""

    name: str
    figure: float
    limit: float
    unit: str  # 1 (a share), By, By/s, s, {core}, or {kill}
    text: str  # for people


@dataclass(frozen=True, slots=True)
class Size:
    """Of a machine; None where it is not known."""

    cores: float | None
    memory: float | None  # bytes


@dataclass(frozen=True, slots=True)
class BackTest:
    """For how many minutes of the window a size would have been tight (over 80 %), and at its end (100 %)."""

    minutes: float  # that are known
    cpu_tight: float
    cpu_full: float
    memory_full: float | None  # peaks above it; None where the memory is not known


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a host, and why."""

    host: str
    verdict: Kind
    rules: list[Rule]
    now: Size
    suggested: Size  # as it is, where nothing is to be changed
    start: float  # s since the epoch: the window
    stop: float
    known: float  # s of it
    coverage: float  # share of the time that the host was there, 0 to 1
    left_out: float  # s of benchmarks
    confidence: str  # high, medium or low
    eligible: float | None  # s since the epoch, when there will be enough data; None where there is, or none comes
    figures: dict[str, float] = field(default_factory=dict)  # percentiles of the CPU, peak of the memory
    back_test: BackTest | None = None
