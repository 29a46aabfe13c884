"""What tests of sealed windows share: small tiers, heads, and what is made of them."""

from collections.abc import Iterable, Mapping

import numpy as np
from hypothesis import strategies as st

from perfmon.core.chunks import TIMES_FIELD, Times, read_samples
from perfmon.core.columns import Column, merged
from perfmon.core.frames import RECORD, head_frame, names_frame, samples_frame
from perfmon.core.sealed import Fields, Sealed, sealed
from perfmon.core.tiers import Tier
from tests.core.models import Samples, done, pairs

# Small ones, whose windows and steps fit into each other as those of the real tiers do.
RAW = Tier("raw", window=60, retention=1000)
MINUTES = Tier("1m", window=240, retention=2000, step=10, feed=240)
HOURS = Tier("1h", window=960, retention=4000, step=60, feed=240)

START = 960 * 1_800_000  # s
KEY = "pm:{web1}:raw:1728000000"

METRICS = ("a", "b.c", "b.c;tag=1", "b.c;tag=2", "ü")

Written = list[tuple[str, int, float]]
"""(metric, ms since the epoch, value) in the order of writing, of any times."""

Model = dict[str, dict[int, float]]
"""metric -> ms since the epoch -> value."""


def head_of(written: Written) -> bytes:
    names = sorted({metric for metric, _, _ in written})
    records = np.array(
        [(names.index(metric), time - time // 60_000 * 60_000, value) for metric, time, value in written], RECORD
    )
    return head_frame(b"identity") + names_frame(7, 0, names) + samples_frame(7, records.tobytes()) if written else b""


def meant(written: Iterable[tuple[str, int, float]]) -> Model:
    model: Model = {}
    for metric, time, value in written:
        model.setdefault(metric, {})[time] = value
    return model


def of_model(model: Mapping[str, Mapping[int, float]]) -> Written:
    return [(metric, time, value) for metric, samples in model.items() for time, value in samples.items()]


def sealed_at_once(window: int, written: Written) -> dict[str, bytes]:
    return done(sealed(Sealed(window, {}, KEY), head_of(written)))


def raw(fields: Fields, window: int = START) -> dict[str, Samples]:
    """What a sealed window of the raw tier has."""
    times = Times(window, fields.get(TIMES_FIELD, b""))
    found = {}
    for metric in Sealed(window, fields, KEY).metrics():
        columns = [Column(times.of(part), part.values) for part in read_samples(fields[metric])]
        found[metric] = [(int(time), value) for time, value in pairs(merged(columns))]
    return found


def in_window(window: int, length: int, max_size: int = 8) -> st.SearchStrategy[Written]:
    offsets = st.integers(0, length * 1000 - 1) | st.integers(0, 5).map(lambda place: place * 9_999)
    sample = st.tuples(
        st.sampled_from(METRICS), offsets.map(lambda offset: window * 1000 + offset), st.integers(-50, 50).map(float)
    )
    return st.lists(sample, max_size=max_size)
