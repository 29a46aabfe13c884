"""Which machines to reclaim, shrink or grow: a verdict with the rules that held, from what a host did.

docs/explanation/rightsizing.md has each rule with its source. What is not known is never evidence.
"""

from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np

from perfmon.core.tiers import DAY
from perfmon.core.traces import Floats, Trace, above, below, fills_in, highest_mean, peak, share
from perfmon.core.verdicts import BackTest, Kind, Rule, Size, Verdict

GIB = float(1 << 30)


# Share of the suggested size that the 95th percentile of the CPU may take.
PROFILES = {"safe": 0.40, "normal": 0.70, "bold": 0.80}

# Idle: in how many of the steps the CPU, and the network and the disk, have to be below their limits.
IDLE_CPU, IDLE_IO = 0.97, 0.95

# What a machine sends and receives, and reads and writes, by itself (bytes a second): logs, updates, monitoring.
NETWORK_FLOOR, DISK_FLOOR = 200e3, 100e3

# Room above the 99.5th percentile of the CPU, and above the peak of the memory.
CPU_ROOM, MEMORY_ROOM = 1.2, 1.15

# So much more memory than it has is suggested for a host where the kernel had to kill for want of it.
OOM_ROOM = 1.25

# Limits of a machine that is too small.
CPU_HIGH, MEMORY_HIGH = 0.80, 0.90
PAGING_HIGH, PAGING_SHARE = 1e6, 0.05  # bytes a second, in more than so many of the steps
PRESSURE_HIGH = {"cpu some": 0.40, "memory some": 0.10, "memory full": 0.05, "io full": 0.30}
FILLS_WITHIN = 14.0 * DAY  # s

# A rise is a trend where a straight line explains so much of it; and it says nothing of what is further ahead than so
# many times the time in which it was seen.
TREND_FIT = 0.8
TREND_REACH = 5.0

# Time that the hypervisor gave to others, at the 95th percentile, beyond which more cores of the same kind do not help.
STEAL_HIGH = 0.10

# An idle host is not busier than so many times the threshold for an hour: who works for a night each month is not idle.
IDLE_HOUR = 2.0

# A burst is so many times the 95th percentile, for so long.
BURST = 2.0
BURST_TIME = 900.0  # s

# A few rounds that are missing make no history too short.
ENOUGH = 0.95

# Who is known for less of the time has gaps that people should know of.
WHOLE = 0.9

# A smaller size has to save so much of what there is.
WORTH = 0.20

# Share of its CPU time beyond which a host of the suggested size would have been tight, and at its end.
TIGHT = 0.80


@dataclass(frozen=True, slots=True)
class Settings:
    """What people may set."""

    min_history: float = 7.0 * DAY  # s of known time that a verdict takes
    profile: str = "normal"  # of PROFILES
    threshold: float = 0.10  # of the CPU, below which a host is idle


def evaluate(trace: Trace, settings: Settings, now: float, left_out: float = 0.0) -> Verdict:
    """The verdict on a host at `now` (s since the epoch); of its trace `left_out` s were taken out."""
    judge = _Judge(trace, settings, now, left_out)
    return judge.verdict()


class _Judge:
    """One host."""

    def __init__(self, trace: Trace, settings: Settings, now: float, left_out: float) -> None:
        self._trace = trace
        self._settings = settings
        self._now = now
        self._left_out = left_out
        self._own = trace.own
        self._p95 = share(self._own, 0.95)
        self._p995 = share(self._own, 0.995)
        self._burst = highest_mean(self._own, max(1, round(BURST_TIME / trace.step)))
        self._steal = share(trace.steal, 0.95) if trace.steal.any() else 0.0
        self._memory_peak = peak(trace.memory_peak)
        self._memory_full_in = None if trace.memory is None else self._full_in(trace.memory)
        self._coverage = trace.coverage(left_out)
        self._rules: list[Rule] = []

    def verdict(self) -> Verdict:
        trace = self._trace
        as_it_is = Size(trace.cores, trace.memory_limit)
        away = self._now - trace.last_seen
        if trace.gone and away >= self._settings.min_history:
            self._hold("gone", away, self._settings.min_history, "s", "it is gone, and nobody has brought it back")
            return self._end(Kind.RECLAIM, Size(0.0, 0.0))
        if not np.isfinite(trace.cpu).any():
            self._hold("no-cpu-metric", 0.0, 1.0, "{series}", "it sends no perfmon.cpu.utilization")
            return self._end(Kind.INSUFFICIENT, as_it_is)
        if trace.known < self._settings.min_history * ENOUGH:
            text = "too little of the window is known: a gap is no evidence"
            self._hold("short-history", trace.known, self._settings.min_history, "s", text)
            return self._end(Kind.INSUFFICIENT, as_it_is, self._eligible())
        fitting = Size(self._cores(), self._memory())
        if self._grows():
            kind = Kind.GROW
            suggested = Size(_larger(trace.cores, fitting.cores), _larger(trace.memory_limit, fitting.memory))
        elif self._is_idle():
            kind, suggested = Kind.RECLAIM, Size(0.0, 0.0)
        else:
            suggested = self._smaller(fitting)
            kind = Kind.KEEP if suggested == as_it_is else Kind.SHRINK
        self._remark(fitting)
        return self._end(kind, suggested)

    def _hold(self, name: str, figure: float, limit: float, unit: str, text: str) -> None:
        self._rules.append(Rule(name, float(figure), float(limit), unit, text))

    # -- too small

    def _grows(self) -> bool:
        """Whether it is too small for what it does; notes by which rules."""
        before = len(self._rules)
        trace = self._trace
        if self._p95 > CPU_HIGH:
            self._hold("cpu-high", self._p95, CPU_HIGH, "1", "P95 of the CPU")
        memory = share(trace.memory, 0.95) if trace.memory is not None else 0.0
        swaps = above(trace.paging, PAGING_HIGH) > PAGING_SHARE
        if trace.oom_kills > 0:
            self._hold("out-of-memory", trace.oom_kills, 0.0, "{kill}", "the kernel killed for want of memory")
        elif memory > MEMORY_HIGH and (swaps or self._presses("memory")):
            how = "it swaps" if swaps else "programs wait for it"
            self._hold("memory-high", memory, MEMORY_HIGH, "1", f"P95 of the memory, and {how}")
        for name, limit in PRESSURE_HIGH.items():
            # where the hypervisor gives the time to others, tasks wait for no fault of the size
            if name.startswith("cpu") and self._is_stolen():
                continue
            column = trace.pressure.get(name)
            waits = share(column, 0.95) if column is not None else 0.0
            if waits > limit:
                text = f"P95 of the time that tasks wait: {name}"
                self._hold(f"pressure-{name.replace(' ', '-')}", waits, limit, "1", text)
        for mountpoint, column in trace.filesystems.items():
            full = self._full_in(column)
            if full is not None:
                self._hold("filesystem-fills", full, FILLS_WITHIN, "s", f"{mountpoint} is full in so long")
        return len(self._rules) > before

    def _presses(self, resource: str) -> bool:
        return any(
            share(self._trace.pressure[name], 0.95) > limit
            for name, limit in PRESSURE_HIGH.items()
            if name.startswith(resource) and name in self._trace.pressure
        )

    # -- not used

    def _is_idle(self) -> bool:
        trace, settings = self._trace, self._settings
        hour = highest_mean(self._own, max(1, round(3_600 / trace.step)))
        if hour > IDLE_HOUR * settings.threshold:
            return False
        idle = below(self._own, settings.threshold)
        quiet = [
            ("network", trace.network, NETWORK_FLOOR, below(trace.network, NETWORK_FLOOR)),
            ("disk", trace.disk, DISK_FLOOR, below(trace.disk, DISK_FLOOR)),
        ]
        if idle < IDLE_CPU or any(held < IDLE_IO for _, column, _, held in quiet if column is not None):
            return False
        self._hold("idle-cpu", share(self._own, IDLE_CPU), settings.threshold, "1", "P97 of the CPU")
        for name, column, floor, _ in quiet:
            if column is not None:
                self._hold(f"idle-{name}", share(column, IDLE_IO), floor, "By/s", f"P95 of the {name}")
        return True

    # -- the size that fits

    def _cores(self) -> float | None:
        cores = self._trace.cores
        if cores is None:
            return None
        used = max(self._p995, self._burst) if self._is_bursty() else self._p995
        wanted = max(1, ceil(used * cores * CPU_ROOM - 1e-9))
        held = ceil(self._p95 * cores / PROFILES[self._settings.profile] - 1e-9)
        return float(max(wanted, held))

    def _memory(self) -> float | None:
        """Whole GiB; half ones below two."""
        trace = self._trace
        if trace.memory_limit is None or not isfinite(self._memory_peak):
            return None
        wanted = self._memory_peak * trace.memory_limit * MEMORY_ROOM
        if trace.oom_kills > 0:
            wanted = max(wanted, trace.memory_limit * OOM_ROOM)
        step = GIB if wanted > 2 * GIB else GIB / 2
        return max(GIB / 2, ceil(wanted / step - 1e-9) * step)

    def _smaller(self, fitting: Size) -> Size:
        """The size that would do, where it saves something; notes by which rules."""
        cores, memory = self._trace.cores, self._trace.memory_limit
        if cores is not None and fitting.cores is not None and _saves(fitting.cores, cores):
            self._hold("cpu-oversized", fitting.cores, cores, "{core}", "cores that would do, of those there are")
            cores = fitting.cores
        rises = self._memory_full_in is not None
        if memory is not None and fitting.memory is not None and not rises and _saves(fitting.memory, memory):
            self._hold("memory-oversized", fitting.memory, memory, "By", "memory that would do, of what there is")
            memory = fitting.memory
        return Size(cores, memory)

    # -- what people should know

    def _remark(self, fitting: Size) -> None:
        """Notes what decides nothing by itself."""
        if self._is_bursty():
            text = "the most of a quarter of an hour is so much above P95: it is sized by its bursts"
            self._hold("bursty", self._burst, self._p95 * BURST, "1", text)
        if self._is_stolen():
            text = "P95 of the time given to others: move it, more cores do not help"
            self._hold("steal", self._steal, STEAL_HIGH, "1", text)
        if self._memory_full_in is not None:
            text = "the memory is full in so long: look for a leak"
            self._hold("memory-rises", self._memory_full_in, FILLS_WITHIN, "s", text)
        if fitting.memory is None:
            self._hold("no-memory-metric", 0.0, 1.0, "{series}", "nothing is said of its memory")
        if self._trace.step > BURST_TIME:
            text = "the CPU is known by the hour only: bursts are averaged away"
            self._hold("by-the-hour", self._trace.step, BURST_TIME, "s", text)
        if self._coverage < WHOLE:
            self._hold("gaps", self._coverage, WHOLE, "1", "share of the time that is known")

    def _is_bursty(self) -> bool:
        burst = self._burst
        return isfinite(burst) and burst > BURST * max(self._p95, 0.02) and burst > self._settings.threshold

    def _is_stolen(self) -> bool:
        return self._steal > STEAL_HIGH

    def _full_in(self, column: Floats) -> float | None:
        """In how many s it will be full, if it rises as it did, and that is soon."""
        coarse = self._trace.coarse
        found = fills_in(column, coarse, len(column) * coarse)
        reach = min(FILLS_WITHIN, TREND_REACH * coarse * int(np.isfinite(column).sum()))
        return found[0] if found is not None and found[0] < reach and found[1] > TREND_FIT else None

    # -- the end

    def _eligible(self) -> float | None:
        """When there will be enough, if it goes on as it did."""
        trace, wanted = self._trace, self._settings.min_history
        if trace.gone or self._coverage * (trace.stop - trace.start) < wanted * ENOUGH:
            return None
        return self._now + (wanted * ENOUGH - trace.known) / self._coverage

    def _confidence(self) -> str:
        known = self._trace.known
        if known >= 12 * DAY and self._coverage >= WHOLE and self._trace.step <= BURST_TIME:
            return "high"
        return "medium" if known >= 6 * DAY and self._coverage >= 0.6 else "low"

    def _end(self, kind: Kind, suggested: Size, eligible: float | None = None) -> Verdict:
        trace = self._trace
        figures = {
            "cpu_p95": self._p95,
            "cpu_p99.5": self._p995,
            "cpu_burst": self._burst,
            "memory_peak": self._memory_peak,
        }
        return Verdict(
            host=trace.host,
            verdict=kind,
            rules=self._rules,
            now=Size(trace.cores, trace.memory_limit),
            suggested=suggested,
            start=trace.start,
            stop=trace.stop,
            known=trace.known,
            coverage=self._coverage,
            left_out=self._left_out,
            confidence=self._confidence(),
            eligible=eligible,
            figures={name: value for name, value in figures.items() if isfinite(value)},
            back_test=None if kind in (Kind.INSUFFICIENT, Kind.RECLAIM) else back_test(trace, suggested),
        )


def _saves(smaller: float, now: float) -> bool:
    return smaller <= now * (1 - WORTH)


def _larger(now: float | None, fitting: float | None) -> float | None:
    return now if now is None or fitting is None else max(now, fitting)


def back_test(trace: Trace, size: Size) -> BackTest | None:
    """How a machine of this size would have done with what the host did; None where its cores are not known."""
    if trace.cores is None or not size.cores:
        return None
    used = trace.own * trace.cores / size.cores
    minutes = trace.step / 60
    full = None
    if trace.memory_limit is not None and trace.memory_peak is not None and size.memory:
        peaks = trace.memory_peak * trace.memory_limit / size.memory
        full = _steps(peaks, 1.0) * trace.coarse / 60
    return BackTest(
        minutes=int(np.isfinite(used).sum()) * minutes,
        cpu_tight=_steps(used, TIGHT) * minutes,
        cpu_full=_steps(used, 1.0) * minutes,
        memory_full=full,
    )


def _steps(column: Floats, limit: float) -> int:
    return int((column[np.isfinite(column)] > limit).sum())
