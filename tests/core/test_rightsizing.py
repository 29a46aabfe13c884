"""Tests for `perfmon.core.rightsizing`: two weeks of many kinds of machines, and the verdict that each must get."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.rightsizing import FILLS_WITHIN, GIB, PROFILES, Settings, back_test, evaluate
from perfmon.core.tiers import DAY
from perfmon.core.traces import Trace, without
from perfmon.core.verdicts import Kind, Size, Verdict

Floats = NDArray[np.float64]

MINUTES, HOURS = 14 * 1440, 14 * 24
NOW = 1_800_000_000.0
START = NOW - 14 * DAY

# For noise: the same in every run.
_CHANCE = np.random.default_rng(7)


def noisy(level: float, number: int = MINUTES, spread: float = 0.2) -> Floats:
    """Around a level."""
    return level * (1 + spread * (2 * _CHANCE.random(number) - 1))


def daily(low: float, high: float, number: int = MINUTES) -> Floats:
    """Follows the day."""
    phase = np.arange(number) / number * 14 * 2 * np.pi
    return low + (high - low) * (0.5 - 0.5 * np.cos(phase))


def during(cpu: Floats, level: float, minutes: NDArray[np.bool_]) -> Floats:
    """`cpu`, but `level` in some minutes."""
    return np.where(minutes, level, cpu)


def trace(cpu: Floats, memory: float | Floats = 0.4, **more: Any) -> Trace:
    """A machine of 8 cores and 32 GiB, quiet on the network and the disk unless it is said."""
    hourly = memory if isinstance(memory, np.ndarray) else noisy(memory, HOURS, 0.05)
    given: dict[str, Any] = {
        "host": "web1",
        "start": START,
        "step": 60.0,
        "coarse": 3_600.0,
        "cpu": cpu,
        "steal": np.zeros(len(cpu)),
        "first_seen": START - 30 * DAY,
        "last_seen": NOW,
        "interval": 10.0,
        "cores": 8.0,
        "memory_limit": 32 * GIB,
        "memory": hourly,
        "memory_peak": np.minimum(hourly * 1.02, 1.0),
        "network": noisy(2e6, HOURS),
        "disk": noisy(1e6, HOURS),
        "paging": np.zeros(HOURS),
        "pressure": {"cpu some": noisy(0.05, HOURS), "memory some": np.zeros(HOURS), "memory full": np.zeros(HOURS)},
        "filesystems": {"/": noisy(0.5, HOURS, 0.01)},
    }
    return Trace(**(given | more))


QUIET: dict[str, Any] = {"network": noisy(2e3, HOURS), "disk": noisy(5e3, HOURS)}
MINUTE = np.arange(MINUTES)

# 5 minutes each night; 10 hours at the end of a month; one minute in ten, always.
CRON = MINUTE % 1440 < 5
MONTH_END = (MINUTE > 10 * 1440) & (MINUTE < 10 * 1440 + 600)
SHORT_BURSTS = MINUTE % 600 < 20

# Two processes are killed, in the third hour.
KILLS = np.where(np.arange(HOURS) == 2, 2.0, 0.0)

# What a machine did: its trace, the verdict, and the rules that must hold, all of them.
CASES: dict[str, tuple[Trace, Kind, set[str]]] = {
    "idle": (
        trace(noisy(0.02), 0.05, **QUIET),
        Kind.RECLAIM,
        {"idle-cpu", "idle-network", "idle-disk"},
    ),
    "cron only": (
        trace(during(noisy(0.02), 1.0, CRON), 0.05, **QUIET),
        Kind.RECLAIM,
        {"idle-cpu", "idle-network", "idle-disk", "bursty"},
    ),
    "month-end burst": (
        trace(during(noisy(0.02), 0.9, MONTH_END), 0.8, **QUIET),
        Kind.KEEP,
        {"bursty"},
    ),
    "short bursts": (
        trace(during(noisy(0.05), 0.5, SHORT_BURSTS), 0.8),
        Kind.SHRINK,
        {"cpu-oversized", "bursty"},
    ),
    "quiet CPU, busy network": (
        trace(noisy(0.03), 0.8, network=noisy(5e6, HOURS)),
        Kind.SHRINK,
        {"cpu-oversized"},
    ),
    "quiet CPU, busy disk": (
        trace(noisy(0.03), 0.8, network=QUIET["network"], disk=noisy(5e6, HOURS)),
        Kind.SHRINK,
        {"cpu-oversized"},
    ),
    "steady, of the right size": (trace(daily(0.3, 0.7), 0.75), Kind.KEEP, set()),
    "oversized": (trace(daily(0.05, 0.2), 0.2), Kind.SHRINK, {"cpu-oversized", "memory-oversized"}),
    "oversized CPU, full memory": (trace(daily(0.05, 0.2), 0.85), Kind.SHRINK, {"cpu-oversized"}),
    "oversized memory": (trace(daily(0.3, 0.7), 0.2), Kind.SHRINK, {"memory-oversized"}),
    "one core idle": (trace(daily(0.3, 0.7), 0.8, cores=1.0), Kind.KEEP, set()),
    "leak": (trace(daily(0.3, 0.7), np.linspace(0.2, 0.7, HOURS)), Kind.KEEP, {"memory-rises"}),
    "cache plateau": (  # caches are not in the share that programs could not get
        trace(daily(0.3, 0.7), np.minimum(np.linspace(0.3, 2.0, HOURS), 0.7)),
        Kind.KEEP,
        set(),
    ),
    "busy": (trace(noisy(0.9, spread=0.05), 0.8), Kind.GROW, {"cpu-high"}),
    "full memory that nobody waits for": (trace(daily(0.3, 0.7), 0.95), Kind.KEEP, set()),
    "full memory, swapping": (
        trace(daily(0.3, 0.7), 0.95, paging=noisy(5e6, HOURS)),
        Kind.GROW,
        {"memory-high"},
    ),
    "full memory, nothing known of swapping": (
        trace(daily(0.3, 0.7), 0.95, paging=np.full(HOURS, np.nan)),
        Kind.KEEP,
        set(),
    ),
    "full memory, pressure": (
        trace(daily(0.3, 0.7), 0.95, pressure={"memory some": noisy(0.2, HOURS)}),
        Kind.GROW,
        {"memory-high", "pressure-memory-some"},
    ),
    "killed for want of memory": (trace(daily(0.3, 0.7), 0.6, kills=KILLS), Kind.GROW, {"out-of-memory"}),
    "pressure on the CPU": (
        trace(daily(0.3, 0.7), 0.75, pressure={"cpu some": noisy(0.6, HOURS)}),
        Kind.GROW,
        {"pressure-cpu-some"},
    ),
    "pressure on the disk": (
        trace(daily(0.3, 0.7), 0.75, pressure={"io full": noisy(0.5, HOURS)}),
        Kind.GROW,
        {"pressure-io-full"},
    ),
    "noisy neighbour": (
        trace(
            noisy(0.5, spread=0.1) + 0.3,
            0.75,
            steal=np.full(MINUTES, 0.3),
            pressure={"cpu some": noisy(0.6, HOURS)},
        ),
        Kind.KEEP,
        {"steal"},
    ),
    "filesystem that fills": (
        trace(daily(0.3, 0.7), 0.75, filesystems={"/var": np.linspace(0.5, 0.8, HOURS)}),
        Kind.GROW,
        {"filesystem-fills"},
    ),
    "filesystem that fills, idle": (  # growing outranks all
        trace(noisy(0.02), 0.05, filesystems={"/": np.linspace(0.5, 0.9, HOURS)}, **QUIET),
        Kind.GROW,
        {"filesystem-fills"},
    ),
    "filesystem that goes up and down": (
        trace(daily(0.3, 0.7), 0.75, filesystems={"/": daily(0.3, 0.9, HOURS)}),
        Kind.KEEP,
        set(),
    ),
    "departed long ago": (
        trace(np.where(MINUTE < 3 * 1440, 0.5, np.nan), gone=True, last_seen=START + 3 * DAY),
        Kind.RECLAIM,
        {"gone"},
    ),
    "departed yesterday": (
        trace(np.where(MINUTE < 13 * 1440, daily(0.3, 0.7), np.nan), 0.75, gone=True, last_seen=NOW - DAY),
        Kind.KEEP,
        set(),
    ),
    "40 % gaps": (
        trace(np.where(MINUTE % 10 < 6, noisy(0.02), np.nan), 0.05, **QUIET),
        Kind.RECLAIM,
        {"idle-cpu", "idle-network", "idle-disk", "gaps"},
    ),
    "60 % gaps": (
        trace(np.where(MINUTE % 10 < 4, noisy(0.02), np.nan), 0.05, **QUIET),
        Kind.INSUFFICIENT,
        {"short-history"},
    ),
    "freshly started": (
        trace(np.where(MINUTE >= 12 * 1440, noisy(0.02), np.nan), 0.05, first_seen=NOW - 2 * DAY, **QUIET),
        Kind.INSUFFICIENT,
        {"short-history"},
    ),
    "no CPU metric": (trace(np.full(MINUTES, np.nan)), Kind.INSUFFICIENT, {"no-cpu-metric"}),
    "no memory metric": (
        replace(trace(daily(0.05, 0.2)), memory=None, memory_peak=None),
        Kind.SHRINK,
        {"cpu-oversized", "no-memory-metric"},
    ),
    "only a CPU metric, idle": (
        replace(
            trace(noisy(0.02)), memory=None, memory_peak=None, network=None, disk=None, pressure={}, filesystems={}
        ),
        Kind.RECLAIM,
        {"idle-cpu", "no-memory-metric"},
    ),
}


def judged(what: str, **settings: Any) -> Verdict:
    return evaluate(CASES[what][0], Settings(**settings), NOW)


class VerdictTests(SynchronousTestCase):
    def test_cases(self) -> None:
        """Each gets its verdict, by its rules and no others."""
        for what, (case, kind, rules) in CASES.items():
            verdict = evaluate(case, Settings(), NOW)
            self.assertEqual((verdict.verdict, {rule.name for rule in verdict.rules}), (kind, rules), what)

    def test_sizes(self) -> None:
        """Cores are those of P99.5 and a fifth more, memory is the peak and 15 %, in whole GiB; what fits stays."""
        for what, cores, memory in (
            (
                "oversized",
                3.0,
                8 * GIB,
            ),  # P95 is to take 70 %: 8 x 0.2 / 0.7 = 2.3; 32 x 0.2 x 1.05 x 1.02 x 1.15 = 7.88 GiB
            ("oversized CPU, full memory", 3.0, 32 * GIB),
            ("oversized memory", 8.0, 8 * GIB),
            ("short bursts", 5.0, 32 * GIB),  # 8 x 0.5 x 1.2 = 4.8
            ("month-end burst", 8.0, 32 * GIB),
            ("busy", 11.0, 32 * GIB),  # 8 x 0.94 / 0.7 = 10.8
            ("killed for want of memory", 8.0, 40 * GIB),  # a quarter more than there is
            ("idle", 0.0, 0.0),
        ):
            self.assertEqual(judged(what).suggested, Size(cores, memory), what)

    def test_profiles(self) -> None:
        """P95 on the suggested size stays within the profile."""
        case = trace(noisy(0.3, spread=0.01), 0.8)
        cores = {}
        for profile, share in PROFILES.items():
            verdict = evaluate(case, Settings(profile=profile), NOW)
            cores[profile] = verdict.suggested.cores
            assert verdict.suggested.cores
            self.assertLessEqual(verdict.figures["cpu_p95"] * 8 / verdict.suggested.cores, share)
        self.assertEqual(
            cores, {"safe": 8.0, "normal": 4.0, "bold": 4.0}
        )  # of seven cores in place of eight nothing is saved

    def test_threshold(self) -> None:
        """Down to Azure's: a host at 5 % is idle by default, and not where 3 % is the limit."""
        case = trace(noisy(0.05), 0.05, **QUIET)
        self.assertEqual(evaluate(case, Settings(), NOW).verdict, Kind.RECLAIM)
        self.assertEqual(evaluate(case, Settings(threshold=0.03), NOW).verdict, Kind.SHRINK)

    def test_eligible(self) -> None:
        """Where there is too little it says when there will be enough; at this rate of gaps never."""
        fresh = judged("freshly started").eligible
        assert fresh is not None
        self.assertLess(abs(fresh - (NOW + (0.95 * 7 - 2) * DAY)), 120)
        self.assertIsNone(judged("60 % gaps").eligible)
        self.assertIsNone(judged("idle").eligible)
        fast = judged("freshly started", min_history=2 * DAY)
        self.assertEqual(fast.verdict, Kind.RECLAIM)

    def test_confidence(self) -> None:
        """It hangs on how much is known."""
        found = {what: judged(what).confidence for what in ("idle", "40 % gaps", "departed yesterday")}
        self.assertEqual(found, {"idle": "high", "40 % gaps": "medium", "departed yesterday": "high"})
        self.assertEqual(judged("freshly started", min_history=600).confidence, "low")
        self.assertLess(abs(judged("40 % gaps").coverage - 0.6), 0.001)

    def test_benchmarks(self) -> None:
        """Time under a benchmark is neither load nor gap."""
        spans = [(START + day * DAY, START + day * DAY + 7_200) for day in range(14)]
        minute = START + MINUTE * 60
        loaded = np.logical_or.reduce([(minute >= begin) & (minute < end) for begin, end in spans])
        case = trace(during(noisy(0.02), 1.0, loaded), 0.05, **QUIET)
        self.assertEqual(evaluate(case, Settings(), NOW).verdict, Kind.GROW)
        cut, seconds = without(case, spans)
        self.assertEqual(seconds, 14 * 7_200)
        verdict = evaluate(cut, Settings(), NOW, seconds)
        self.assertEqual((verdict.verdict, verdict.left_out), (Kind.RECLAIM, seconds))
        self.assertLess(abs(verdict.coverage - 1.0), 0.001)
        self.assertNotIn("gaps", {rule.name for rule in verdict.rules})
        killed = trace(daily(0.3, 0.7), 0.6, kills=KILLS)
        cut, seconds = without(killed, [(START + 2 * 3_600 + 60, START + 2 * 3_600 + 120)])
        self.assertNotIn("out-of-memory", {rule.name for rule in evaluate(cut, Settings(), NOW, seconds).rules})

    def test_figures(self) -> None:
        """Every rule that held is beyond its limit, in the direction that it is about."""
        for what in CASES:
            for rule in judged(what).rules:
                under = rule.name.startswith(("idle", "filesystem", "memory-rises", "gaps", "short", "no-")) or (
                    rule.name.endswith("oversized")
                )
                self.assertTrue(rule.figure < rule.limit if under else rule.figure >= rule.limit, (what, rule))
        (fills,) = judged("filesystem that fills").rules
        self.assertLess(abs(fills.figure / DAY - 0.2 / 0.3 * 14), 0.1)
        self.assertLess(fills.figure, FILLS_WITHIN)

    def test_hours(self) -> None:
        """Where minutes are gone it is said, and the verdict is not of high confidence."""
        case = trace(daily(0.05, 0.2, HOURS), step=3_600.0)
        verdict = evaluate(case, Settings(), NOW)
        self.assertEqual((verdict.verdict, verdict.confidence), (Kind.SHRINK, "medium"))
        self.assertIn("by-the-hour", {rule.name for rule in verdict.rules})
        assert verdict.back_test is not None
        self.assertEqual(verdict.back_test.minutes, HOURS * 60)

    def test_short_trend(self) -> None:
        """What was seen for minutes says nothing of days to come, but much of the next hour."""
        for last, fills in ((0.55, False), (0.95, True)):
            case = trace(
                noisy(0.5, 20),
                noisy(0.75, 20),
                start=NOW - 300,
                step=15.0,
                coarse=15.0,
                first_seen=NOW - 310,
                paging=np.zeros(20),
                pressure={},
                filesystems={"/": np.linspace(0.5, last, 20)},
            )
            rules = {rule.name for rule in evaluate(case, Settings(min_history=300), NOW).rules}
            self.assertEqual("filesystem-fills" in rules, fills, last)

    def test_minutes(self) -> None:
        """Of a few minutes a verdict can be had, too, where people allow it."""
        five = 20
        case = trace(
            noisy(0.02, five),
            noisy(0.1, five),
            start=NOW - 300,
            step=15.0,
            coarse=15.0,
            first_seen=NOW - 310,
            paging=np.zeros(five),
            network=noisy(2e3, five),
            disk=noisy(2e3, five),
            pressure={},
            filesystems={},
        )
        verdict = evaluate(case, Settings(min_history=300), NOW)
        self.assertEqual((verdict.verdict, verdict.confidence), (Kind.RECLAIM, "low"))


class BackTestTests(SynchronousTestCase):
    @given(
        st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=200),
        st.integers(1, 64),
        st.integers(1, 64),
        st.lists(st.floats(0, 1), min_size=1, max_size=20),
        st.integers(1, 64),
    )
    def test_brute_force(self, cpu: list[float], cores: int, wanted: int, peaks: list[float], memory: int) -> None:
        """The minutes are those that a count of them one by one gives."""
        case = trace(
            np.array(cpu), np.array(peaks), cores=float(cores), steal=np.zeros(len(cpu)), memory_peak=np.array(peaks)
        )
        found = back_test(case, Size(float(wanted), memory * GIB))
        assert found is not None
        used = [value * cores / wanted for value in cpu if value == value]
        self.assertEqual(found.minutes, len(used))
        self.assertEqual(found.cpu_tight, sum(1 for value in used if value > 0.8))
        self.assertEqual(found.cpu_full, sum(1 for value in used if value > 1.0))
        full = sum(1 for value in peaks if value * (32 * GIB) / (memory * GIB) > 1.0)
        self.assertEqual(found.memory_full, full * 60)

    def test_suggested(self) -> None:
        """A size that is suggested has room: at its end it would have been for less than half a percent."""
        for what, (case, kind, _) in CASES.items():
            if kind is Kind.SHRINK:
                found = evaluate(case, Settings(), NOW).back_test
                assert found is not None
                self.assertLessEqual(found.cpu_full, 0.005 * found.minutes, what)
                self.assertIn(found.memory_full, (0.0, None), what)
