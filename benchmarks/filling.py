"""A store as the collector has it at a moment: filled with a fleet's last two hours, and with 400 days of one host.

Imported by query.py and rightsizing.py, not run by itself.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from common import Valkey
from fleet import HOUR, Floats, Host, Past
from numpy.typing import NDArray

from perfmon.core.chunks import tagged_field
from perfmon.core.columns import Column
from perfmon.core.presence import State
from perfmon.core.rollups import encode_rollup, rolled
from perfmon.core.sealed import FED_FIELD
from perfmon.core.tiers import DAY, GRACE, HOURS, MINUTES, MS, RAW, ROLL_GRACE, STAGE, TIERS, Tier, WindowName
from perfmon.storage import keys
from perfmon.storage.store import Store
from perfmon.storage.windows import Claim

MINUTES_KEPT, HOURS_KEPT = 30, 400  # d

# Rounds of the time before the minutes: a hundred metrics each 10 s for a year would take minutes to make up.
OLD_STEP = 300  # s

# Hosts that are filled together.
BATCH = 25

HOW = (
    f"sent and sealed by perfmon's own code but for the minutes and hours of one host before yesterday, which are made "
    f"from columns by core.rollups (before {MINUTES_KEPT} d of rounds of {OLD_STEP} s); what would fall due meanwhile "
    "is put off, so that nothing is sealed during the measurement"
)

Samples = tuple[NDArray[np.int64], Floats]  # times (ms since the epoch), values


@dataclass(frozen=True, slots=True)
class Filled:
    """What was stored."""

    moment: int  # s since the epoch, when the data ends
    hosts: list[Host]  # of the first with today, of the others the last two hours
    metric: str
    past: Samples  # all samples of that metric of the first host
    samples: int  # in the raw tier


def moment_of(at: str) -> int:
    """The last time (s since the epoch) that it was ``HH:MM`` UTC."""
    now = datetime.now(UTC)
    wanted = datetime.strptime(at, "%H:%M").replace(tzinfo=UTC)
    if wanted.minute < 2 or (wanted.hour, wanted.minute) < (0, 20):
        raise SystemExit("--at: 00:20 or later, and at least 2 minutes after a full hour: else these are not over yet")
    moment = now.replace(hour=wanted.hour, minute=wanted.minute, second=0, microsecond=0)
    return int((moment if moment <= now else moment - timedelta(days=1)).timestamp())


async def fill(store: Store, server: Valkey, count: int, at: str, metric: str, old: bool) -> Filled:
    """Fills the store with `count` hosts; `metric` is the one whose past is to be known.

    Without `old` the first host, too, begins yesterday.
    """
    moment = moment_of(at)
    hour = moment // HOUR * HOUR - HOUR
    past = Past(store)
    spans = await _old(store, past, moment) if old else []
    days, samples = await _days(past, moment)
    spans += days
    hosts = days[-1:]
    for first in range(1, count, BATCH):
        batch = [Host.of(number, hour, moment) for number in range(first, min(first + BATCH, count))]
        samples += await _hour(past, batch, hour)
        samples += await _running(past, batch, moment)
        hosts += batch
    await past.work(moment)
    signs = {host.name: moment - 1.0 for host in hosts}
    await store.sign(signs)
    await store.change(signs, State.LEFT, moment, "end of the data")
    put_off(server)
    times = np.concatenate([span.times for span in spans])
    return Filled(moment, hosts, metric, (times, np.concatenate([span.column(metric) for span in spans])), samples)


async def _old(store: Store, past: Past, moment: int) -> list[Host]:
    """The first host until the day before yesterday: 400 d by hours, of these 30 d by minutes; the samples of it."""
    today = moment // DAY * DAY
    minutes = today - MINUTES_KEPT * DAY
    found = []
    edges = [*HOURS.windows((moment - HOURS_KEPT * DAY) * MS, minutes * MS - 1), minutes]
    for start, stop in pairwise(edges):
        span = Host.of(0, start, stop, OLD_STEP)
        await put(store, HOURS, start, span, part=MINUTES)
        found.append(span)
    for day in range(minutes, today - DAY, DAY):
        span = Host.of(0, day, day + DAY)
        for window in MINUTES.windows(day * MS, (day + DAY) * MS - 1):
            await put(store, MINUTES, window, span, part=RAW)
        await past.work(day + DAY + ROLL_GRACE + 60)  # into the hours
        found.append(span)
    return found


async def put(store: Store, tier: Tier, window: int, span: Host, part: Tier) -> None:
    """What sealing would have made of `span` for `window` of `tier`, from windows of `part`."""
    rounds = span.between(window, window + tier.window)
    times = span.times[rounds]
    fields = {}
    for metric in span.metrics:
        rollup = rolled(Column(times, span.column(metric)[rounds]), tier.step * MS, part=part.window * MS)
        fields[metric] = encode_rollup(rollup, tier.step, window)
    there = np.zeros(tier.window // part.window, np.uint8)
    there[np.unique((times // MS - window) // part.window)] = 1
    fields |= tagged_field(span.metrics) | {FED_FIELD: (there + ord("0")).astype(np.uint8).tobytes()}
    claim = Claim(tier, 0.0, WindowName(span.name, tier.name, window), [])
    assert await store.windows.rolled(claim, fields, window + tier.window + ROLL_GRACE)


async def _days(past: Past, moment: int) -> tuple[list[Host], int]:
    """The first host's yesterday, rolled up, and its today; with the number of samples."""
    today = moment // DAY * DAY
    samples = 0
    before = Host.of(0, today - DAY, today)
    for hour in range(today - DAY, today, HOUR):
        samples += await _hour(past, [before], hour)
    await past.work(today + ROLL_GRACE + 1)
    await past.work(today + ROLL_GRACE + 60)
    now = Host.of(0, today, moment)
    for hour in range(today, moment // HOUR * HOUR, HOUR):
        samples += await _hour(past, [now], hour)
    samples += await _running(past, [now], moment)
    return [before, now], samples


async def _hour(past: Past, hosts: list[Host], hour: int) -> int:
    """An hour that is over."""
    samples = await past.send(hosts, hour, hour + HOUR, at_once=True)
    await past.work(hour + HOUR + GRACE + 1)
    return samples


async def _running(past: Past, hosts: list[Host], moment: int) -> int:
    """The hour of `moment`: put aside every 20 minutes, and then an open head."""
    samples = 0
    for start in range(moment // HOUR * HOUR, moment, STAGE):
        staged = start + STAGE < moment
        samples += await past.send(hosts, start, min(start + STAGE, moment), at_once=staged)
        if staged:
            await past.work(start + STAGE + 1)
    return samples


def put_off(server: Valkey) -> None:
    """Nothing is due before tomorrow."""
    later = int(server("TIME")[0]) + DAY
    for tier in TIERS:
        key = keys.open_windows(tier.name)
        members: list[Any] = server("ZRANGE", key, 0, -1)
        if members:
            server("ZADD", key, *[word for member in members for word in (later, member)])
