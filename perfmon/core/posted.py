"""Samples posted over HTTP as JSON, for scripts without an agent."""

import math

import msgspec
import numpy as np

from perfmon.core.names import BadName, checked_host, checked_metric
from perfmon.core.numbering import Columns, Numbering
from perfmon.core.reject import BAD_NAME, BAD_VALUE, Rejected, TimeBounds


class PostedSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample; its host may stand once for all."""

    metric: str
    value: float
    host: str = ""
    time: float | None = None  # s since the epoch; None: now


class Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the request."""

    samples: list[PostedSample]
    host: str = ""


class BadBody(ValueError):
    """The body is not what it should be; `str()` says where."""


_decoder = msgspec.json.Decoder(Posted)


def parse_posted(
    body: bytes, numbering: Numbering, now: float, bounds: TimeBounds
) -> tuple[Columns, dict[int, Rejected]]:
    """The samples of `body`, and those that cannot be stored by their place in it.

    `now` (s) is the time of samples without one. Raises `BadBody` for a body that is malformed as a whole.
    """
    try:
        posted = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise BadBody(
            f'{problem}; send {{"host": "web1", "samples": [{{"metric": "queue.length", "value": 42}}]}}'
        ) from None
    refused: dict[int, Rejected] = {}
    series: list[int] = []
    times: list[int] = []
    values: list[float] = []
    for place, sample in enumerate(posted.samples):
        time = now if sample.time is None else sample.time
        problem_with = bounds.problem(time)
        if not math.isfinite(sample.value):
            problem_with = Rejected(BAD_VALUE, "value is not finite")
        if problem_with is None:
            try:
                host = sample.host or posted.host
                if not host:
                    raise BadName("no host: give it once beside the samples, or with each of them")
                number = numbering.series(checked_host(host), checked_metric(sample.metric))
            except BadName as problem:
                problem_with = Rejected(BAD_NAME, str(problem))
            else:
                series.append(number)
                times.append(round(time * 1000))
                values.append(sample.value)
        if problem_with is not None:
            refused[place] = problem_with
    columns = Columns(numbering, np.array(series, np.int64), np.array(times, np.int64), np.array(values, np.float64))
    return columns, refused
