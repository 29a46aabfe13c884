"""Tests for `perfmon.core.exporting`: what is written is read back with the libraries that others read it with."""

import csv
import io
from datetime import UTC, datetime, timedelta
from math import inf, nan

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.exporting import CSV_HEADER, FORMATS, csv_lines, ndjson_lines
from perfmon.core.names import checked_metric
from perfmon.core.query import Points

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW_MS = 1_795_352_345_678

# Whatever a metric may be called, and beyond it: quotes, commas and line ends in any combination.
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.text(
    st.sampled_from("\",\r\n'; =a"), min_size=1, max_size=8
)
values = st.floats(allow_nan=False, allow_infinity=False)
# ms, from the year 1 to the year 9999: as far as ISO 8601 goes
times = st.integers(-62_135_596_800_000, 253_402_300_799_999)
series = st.dictionaries(times, values, max_size=20).map(lambda found: sorted(found.items()))


def points(samples: list[tuple[int, float]]) -> Points:
    """`samples` are (ms, value)."""
    return Points(np.array([ms for ms, _ in samples], np.int64), np.array([value for _, value in samples], np.float64))


def moment(text: str) -> int:
    """Milliseconds since the epoch of a time in CSV."""
    assert text.endswith("Z")
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


def read_csv(lines: bytes) -> list[tuple[int, str, float]]:
    """(ms, metric, value) of each record, as the csv module reads a file."""
    with io.TextIOWrapper(io.BytesIO(lines), "utf-8", newline="") as file:
        return [(moment(time), metric, float(value)) for time, metric, value in csv.reader(file, strict=True)]


def read_ndjson(lines: bytes) -> list[tuple[int, str, float]]:
    """(ms, metric, value) of each line; proves on the way that every line is ended, and has these members only."""
    assert not lines or lines.endswith(b"\n")
    found = [orjson.loads(line) for line in lines.split(b"\n")[:-1]]
    assert all(list(one) == ["time", "metric", "value"] for one in found)
    return [(round(one["time"] * 1000), one["metric"], one["value"]) for one in found]


READERS = ((csv_lines, read_csv), (ndjson_lines, read_ndjson))


class BothTests(SynchronousTestCase):
    """What holds of every format."""

    @given(names, series)
    def test_any(self, metric: str, samples: list[tuple[int, float]]) -> None:
        """What is written is read back: every time to the millisecond, every name, every value to its last bit."""
        for lines, read in READERS:
            found = read(lines(metric, points(samples)))
            self.assertEqual(found, [(ms, metric, value) for ms, value in samples], read.__name__)
            signs = [np.signbit(value) for _, _, value in found]
            self.assertEqual(signs, [np.signbit(value) for _, value in samples], read.__name__)

    @given(st.lists(st.just(nan) | values, max_size=12))
    def test_absent(self, column: list[float]) -> None:
        """A point without a value, wherever it stands, has no line."""
        samples = [(NOW_MS + place, value) for place, value in enumerate(column)]
        present = [(ms, "x", value) for ms, value in samples if value == value]
        for lines, read in READERS:
            self.assertEqual(read(lines("x", points(samples))), present)

    def test_nothing(self) -> None:
        """Of no points, and of none with a value, there are no lines."""
        for lines, _ in READERS:
            self.assertEqual(lines("x", points([])), b"")
            self.assertEqual(lines("x", points([(0, nan), (1, nan)])), b"")

    def test_not_changed(self) -> None:
        """What is given is left as it is."""
        given_points = points([(0, 1.0), (1000, nan)])
        for lines, _ in READERS:
            lines("x", given_points)
        np.testing.assert_array_equal(given_points.values, [1.0, nan])
        self.assertEqual(given_points.times.tolist(), [0.0, 1.0])

    def test_extremes(self) -> None:
        """The greatest and the least numbers, whole ones and the smallest fractions come through."""
        numbers = [
            1.7976931348623157e308,
            -1.7976931348623157e308,
            5e-324,
            2.0**53,
            1e22,
            0.1,
            1 / 3,
            -0.0,
            123456789.0,
        ]
        samples = [(NOW_MS + place, number) for place, number in enumerate(numbers)]
        for lines, read in READERS:
            self.assertEqual(read(lines("x", points(samples))), [(ms, "x", number) for ms, number in samples])

    def test_formats(self) -> None:
        """Each format has its media type, its beginning and its lines; the names are those of the API."""
        self.assertEqual(
            {name: (form.media_type, form.beginning, form.lines) for name, form in FORMATS.items()},
            {
                "csv": ("text/csv; charset=utf-8; header=present", b"time,metric,value\n", csv_lines),
                "ndjson": ("application/x-ndjson", b"", ndjson_lines),
            },
        )


class CsvTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Time in UTC to the millisecond, metric, value; under a header that names them."""
        lines = csv_lines("cpu.load", points([(NOW_MS, 0.0), (NOW_MS + 1322, 41.25)]))
        self.assertEqual(
            CSV_HEADER + lines,
            b"time,metric,value\n2026-11-22T12:59:05.678Z,cpu.load,0.0\n2026-11-22T12:59:07.000Z,cpu.load,41.25\n",
        )

    def test_quotes(self) -> None:
        """A name is quoted where it must be, and only there; quotes in it are doubled (RFC 4180, 2.5 to 2.7)."""
        for metric, field in (
            ("disk.free;mountpoint=/", "disk.free;mountpoint=/"),
            ("a,b", '"a,b"'),
            ('say"x"', '"say""x"""'),
            ('"', '""""'),
            ("a\nb", '"a\nb"'),
            ("a\rb", '"a\rb"'),
            ("it's", "it's"),
            ("Größe", "Größe"),
        ):
            line = csv_lines(metric, points([(0, 1.0)]))
            self.assertEqual(line.decode(), f"1970-01-01T00:00:00.000Z,{field},1.0\n")

    @given(st.lists(st.tuples(names, series), max_size=4))
    def test_file(self, found: list[tuple[str, list[tuple[int, float]]]]) -> None:
        """A whole file, of several series, is read by the names of its columns."""
        text = CSV_HEADER + b"".join(csv_lines(metric, points(samples)) for metric, samples in found)
        with io.TextIOWrapper(io.BytesIO(text), "utf-8", newline="") as file:
            rows = [(row["time"], row["metric"], row["value"]) for row in csv.DictReader(file, strict=True)]
        self.assertEqual(
            [(moment(time), metric, float(value)) for time, metric, value in rows],
            [(ms, metric, value) for metric, samples in found for ms, value in samples],
        )

    def test_times(self) -> None:
        """Times before the epoch, and those that no float hits exactly, are those of their millisecond."""
        for time, text in (
            (-0.001, "1969-12-31T23:59:59.999Z"),
            (-1.5, "1969-12-31T23:59:58.500Z"),
            (0.0, "1970-01-01T00:00:00.000Z"),
            (0.001, "1970-01-01T00:00:00.001Z"),
            (0.0004, "1970-01-01T00:00:00.000Z"),
            (0.0006, "1970-01-01T00:00:00.001Z"),
            (1792310400.2999999, "2026-10-18T08:00:00.300Z"),
            (253402300799.999, "9999-12-31T23:59:59.999Z"),
        ):
            line = csv_lines("x", Points(np.array([round(time * 1000)]), np.array([1.0])))
            self.assertEqual(line.decode(), f"{text},x,1.0\n")

    def test_steps_below_a_second(self) -> None:
        """Each step of a tenth of a second stands at its own time, without a gap and without a repetition."""
        steps = Points(np.arange(17_923_104_000, 17_923_106_000) * 100, np.zeros(2000))
        found = [ms for ms, _, _ in read_csv(csv_lines("x", steps))]
        self.assertEqual(found, [1_792_310_400_000 + 100 * place for place in range(2000)])


class NdjsonTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """An object on each line; time in seconds since the epoch."""
        lines = ndjson_lines("cpu.load", points([(NOW_MS, 0.0), (NOW_MS + 1322, 41.25)]))
        self.assertEqual(
            lines,
            b'{"time":1795352345.678,"metric":"cpu.load","value":0.0}\n'
            b'{"time":1795352347.0,"metric":"cpu.load","value":41.25}\n',
        )

    def test_names(self) -> None:
        """A name stands as JSON has it, so that no line is torn."""
        for metric, text in (('a"b', r'"a\"b"'), ("a\nb", r'"a\nb"'), ("a\\b", r'"a\\b"'), ("Größe", '"Größe"')):
            line = ndjson_lines(metric, points([(0, 1.0)]))
            self.assertEqual(line.decode(), f'{{"time":0.0,"metric":{text},"value":1.0}}\n')

    def test_times(self) -> None:
        """Times before the epoch are negative; the time is the one that queries answer, to its last bit."""
        for time in (-1.5, -0.001, 0.0, 1792310400.2999999, 253402300799.999):
            line = ndjson_lines("x", Points(np.array([round(time * 1000)]), np.array([1.0])))
            self.assertEqual(orjson.loads(line)["time"], time)

    def test_infinite(self) -> None:
        """Also a value beyond all floats, such as the sum of two great ones, leaves each line JSON."""
        for line in ndjson_lines("x", points([(0, inf), (1, -inf), (2, 1.0)])).splitlines():
            orjson.loads(line)


class NameTests(SynchronousTestCase):
    def test_of_the_store(self) -> None:
        """Names that can be stored, with tags and without, need no more than one line."""
        for metric in ("a,b", 'x"y', 'm;k=v,w;z="q"', "=1+1", "µ.größe"):
            self.assertEqual(checked_metric(metric), metric)
            for lines, read in READERS:
                text = lines(metric, points([(1, 2.0)]))
                self.assertEqual(text.count(b"\n"), 1)
                self.assertEqual(read(text), [(1, metric, 2.0)])
