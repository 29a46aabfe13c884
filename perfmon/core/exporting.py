"""Points as lines of text, for files: CSV (RFC 4180) and NDJSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson

from perfmon.core.query import Points

CSV_HEADER = b"time,metric,value\n"

# Characters that make a field need quotes.
_SPECIAL = frozenset(',"\r\n')


def csv_lines(metric: str, points: Points) -> bytes:
    """A line for each point that has a value: time (ISO 8601, UTC), metric, value."""
    name = '"' + metric.replace('"', '""') + '"' if _SPECIAL & set(metric) else metric
    points = _there(points)
    moments = np.datetime_as_string(points.times_ms.astype("datetime64[ms]"), timezone="UTC").tolist()
    return "".join(
        [f"{moment},{name},{value!r}\n" for moment, value in zip(moments, points.values.tolist(), strict=True)]
    ).encode()


def ndjson_lines(metric: str, points: Points) -> bytes:
    """A JSON object on a line of its own for each point that has a value: time (s since the epoch), metric, value."""
    name = orjson.dumps(metric).decode()
    points = _there(points)
    return "".join(
        [
            f'{{"time":{time!r},"metric":{name},"value":{value!r}}}\n'
            for time, value in zip(points.times.tolist(), points.values.tolist(), strict=True)
        ]
    ).encode()


def _there(points: Points) -> Points:
    present = np.isfinite(points.values)  # a sum may be beyond all floats, which JSON cannot say
    return points if present.all() else Points(points.times_ms[present], points.values[present])


@dataclass(frozen=True, slots=True)
class Format:
    """One format of files."""

    media_type: str
    beginning: bytes
    lines: Callable[[str, Points], bytes]  # of a series, by its metric


FORMATS: Final[Mapping[str, Format]] = {
    "csv": Format("text/csv; charset=utf-8; header=present", CSV_HEADER, csv_lines),
    "ndjson": Format("application/x-ndjson", b"", ndjson_lines),
}
