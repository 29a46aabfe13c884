"""Tests for `perfmon.core.graphite`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count, pairwise, product

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.graphite import MANY, MAX_LINE, GraphiteParser, encode_lines
from perfmon.core.numbering import Columns, Numbering
from perfmon.core.reject import (
    BAD_LINE,
    BAD_NAME,
    BAD_VALUE,
    FUTURE,
    LONG_LINE,
    REASONS,
    TOO_OLD,
    Rejected,
    TimeBounds,
)
from perfmon.core.templates import DEFAULT_TEMPLATES, PathReader, Template

NOW = 1_792_310_400.25
BOUNDS = TimeBounds.at(NOW)
TIME = b"1792310400"

# host, metric, ms since the epoch, value
Sample = tuple[str, str, int, float]


def shown(columns: Columns) -> list[Sample]:
    """Columns as samples, in their order."""
    log_of, number_of = columns.numbering.places()
    found = []
    for series, time, value in zip(columns.series, columns.times_ms.tolist(), columns.values.tolist(), strict=True):
        log = columns.numbering.logs[log_of[series]]
        found.append((log.host, log.names[number_of[series]], time, value))
    return found


def new_numbering() -> Numbering:
    return Numbering(count(1).__next__)


def parsed(
    pieces: Iterable[bytes], max_line: int = MAX_LINE, templates: Sequence[Template] = DEFAULT_TEMPLATES
) -> tuple[list[Sample], Counter[str]]:
    """Samples and reasons of refusal that a stream gives, fed piece by piece."""
    numbering = new_numbering()
    parser = GraphiteParser(lambda: numbering, PathReader(templates), max_line)
    samples: list[Sample] = []
    reasons: Counter[str] = Counter()
    for piece in pieces:
        columns, rejected = parser.feed(piece, NOW, BOUNDS)
        samples += shown(columns)
        reasons.update(each.reason for each in rejected)
    return samples, reasons


def line(value: bytes = b"1", time: bytes = TIME, path: bytes = b"web1.cpu") -> bytes:
    return b"%s %s %s\n" % (path, value, time)


class FeedTests(SynchronousTestCase):
    def test_sample(self) -> None:
        """A line is a sample, to the millisecond."""
        for data, sample in (
            (b"web1.cpu 42 1792310400\n", ("web1", "cpu", 1_792_310_400_000, 42.0)),
            (b"web1.cpu -4.25e-1 1792310400.123\n", ("web1", "cpu", 1_792_310_400_123, -0.425)),
            (b"web1.cpu 1 1792310400.0006\n", ("web1", "cpu", 1_792_310_400_001, 1.0)),
            (b"web1.cpu 1 1792310399.9996\n", ("web1", "cpu", 1_792_310_400_000, 1.0)),
            (b"web1.cpu 1 -1\n", ("web1", "cpu", 1_792_310_400_250, 1.0)),
            (b"web1.cpu 1 -1.0\n", ("web1", "cpu", 1_792_310_400_250, 1.0)),
            (b"web1.cpu;b=2;a=1 1 1792310400\n", ("web1", "cpu;a=1;b=2", 1_792_310_400_000, 1.0)),
            (b"cpu;host=web1 1 1792310400\n", ("web1", "cpu", 1_792_310_400_000, 1.0)),
            (b" web1.cpu\t1  1792310400 \r\n", ("web1", "cpu", 1_792_310_400_000, 1.0)),
            (b"web1.cpu .5 1792310400\n", ("web1", "cpu", 1_792_310_400_000, 0.5)),
            (b"web1.cpu +5. 1.7923104e9\n", ("web1", "cpu", 1_792_310_400_000, 5.0)),
        ):
            self.assertEqual(parsed([data]), ([sample], Counter()), data)

    def test_order(self) -> None:
        """Samples come in the order of their lines, whichever way they were read."""
        for odd in (b"1.5", b"+1.5"):
            data = b"".join(line(value, path=b"h%d.m" % (i % 3)) for i, value in enumerate([b"0", b"9", odd, b"7"]))
            expected = [("h0", 0.0), ("h1", 9.0), ("h2", 1.5), ("h0", 7.0)]
            self.assertEqual([(host, value) for host, _, _, value in parsed([data])[0]], expected)

    def test_refused(self) -> None:
        """A bad line is refused with its reason; those around it are taken."""
        for bad, reason in (
            (b"web1.cpu 1", BAD_LINE),
            (b"web1.cpu", BAD_LINE),
            (b"web1.cpu 1 1792310400 x", BAD_LINE),
            (b"GET / HTTP/1.1 x", BAD_LINE),
            (b"web1.cpu x 1792310400", BAD_VALUE),
            (b"web1.cpu 1 now", BAD_VALUE),
            (b"web1.cpu nan 1792310400", BAD_VALUE),
            (b"web1.cpu inf 1792310400", BAD_VALUE),
            (b"web1.cpu 1e999 1792310400", BAD_VALUE),
            (b"web1.cpu 1 nan", BAD_VALUE),
            (b"web1.cpu 1 inf", BAD_VALUE),
            (b"web1.cpu 1_0 1792310400", BAD_VALUE),
            (b"web1.cpu 0x1 1792310400", BAD_VALUE),
            (b"web1.cpu true 1792310400", BAD_VALUE),
            (b"web1.cpu null 1792310400", BAD_VALUE),
            (b"web1.cpu 1,2 1792310400", BAD_VALUE),
            (b"web1.cpu [1] 1792310400", BAD_VALUE),
            (b"web1.cpu 1\0 1792310400", BAD_VALUE),
            (b"web1.cpu \xd9\xa3 1792310400", BAD_VALUE),
            (b"web1.cpu 1 1892310400", FUTURE),
            (b"web1.cpu 1 1692310400", TOO_OLD),
            (b"web1.cpu 1 0", TOO_OLD),
            (b"web1.cpu 1 -2", TOO_OLD),
            (b"web1.cpu 1 1792310400250", FUTURE),
            (b"cpu 1 1792310400", BAD_NAME),
            (b"web{1}.cpu 1 1792310400", BAD_NAME),
            (b"web1.cpu;k 1 1792310400", BAD_NAME),
            (b"web1.c\xffpu 1 1792310400", BAD_NAME),
            (b"web1.c\0pu 1 1792310400", BAD_NAME),
            (b"web1.c\xc2\xa0pu 1 1792310400", BAD_NAME),
            (b"web1.cpu " + b"1" * MAX_LINE + b" 1792310400", LONG_LINE),
        ):
            samples, reasons = parsed([line(b"1") + bad + b"\n" + line(b"2")])
            self.assertEqual([value for *_, value in samples], [1.0, 2.0], bad[:50])
            self.assertEqual(reasons, {reason: 1}, bad[:50])

    def test_empty_lines(self) -> None:
        """Empty lines are nothing, neither a sample nor a fault."""
        for data in (b"", b"\n", b"\r\n", b"\n\n \n\t\r\n"):
            self.assertEqual(parsed([data]), ([], Counter()))
            self.assertEqual(len(parsed([data, line(), data, line()])[0]), 2)

    def test_bounds(self) -> None:
        """The newest time of the bounds is taken, the oldest is not."""
        bounds = TimeBounds(100.0, 200.0)
        for time, reason in ((b"100", TOO_OLD), (b"100.5", None), (b"200", None), (b"200.5", FUTURE), (b"-1", None)):
            for odd in (b"", b"\t"):
                parser = GraphiteParser(new_numbering, PathReader())
                columns, rejected = parser.feed(b"web1.cpu 1 %s%s\n" % (time, odd), 150.0, bounds)
                self.assertEqual(
                    (len(columns), [each.reason for each in rejected]), (not reason, [reason] * bool(reason))
                )

    def test_unfinished(self) -> None:
        """A line counts when its end is there, not before."""
        numbering = new_numbering()
        parser = GraphiteParser(lambda: numbering, PathReader())
        for byte in line()[:-1]:
            columns, rejected = parser.feed(bytes([byte]), NOW, BOUNDS)
            self.assertEqual((len(columns), rejected), (0, []))
        self.assertEqual(len(parser.feed(b"\n", NOW, BOUNDS)[0]), 1)

    def test_longest_line(self) -> None:
        """A line of the limit is taken, one byte more is refused, in one piece or in two."""
        for limit in (60, MAX_LINE):
            for space in (b" ", b"\t"):
                fits = b"web1.cpu" + space + b"0." + b"1" * (limit - 22) + b" " + TIME
                self.assertEqual(len(fits), limit)
                for cut in (0, 10, limit):
                    for text, reasons in ((fits, {}), (b"x" + fits, {LONG_LINE: 1})):
                        samples, found = parsed([text[:cut], text[cut:] + b"\n"], limit)
                        self.assertEqual((len(samples), found), (not reasons, reasons), (limit, space, cut))

    def test_endless_line(self) -> None:
        """Of a line without end nothing is kept, it is refused once, and what follows it is read."""
        numbering = new_numbering()
        parser = GraphiteParser(lambda: numbering, PathReader(), max_line=100)
        reasons = []
        for _ in range(50):
            reasons += [each.reason for each in parser.feed(b"x" * 70, NOW, BOUNDS)[1]]
            self.assertLessEqual(len(parser._rest), 100)
        self.assertEqual(reasons, [LONG_LINE])
        columns, rejected = parser.feed(b" 1 1\n" + line(), NOW, BOUNDS)
        self.assertEqual((shown(columns), rejected), ([("web1", "cpu", 1_792_310_400_000, 1.0)], []))

    def test_numbering_changes(self) -> None:
        """Columns refer to the numbering in use when they were read."""
        numberings = [new_numbering(), new_numbering()]
        numberings[1].series("other", "metric")
        current = iter(numberings)
        parser = GraphiteParser(lambda: next(current), PathReader())
        for numbering in numberings:
            columns, _ = parser.feed(line(), NOW, BOUNDS)
            self.assertIs(columns.numbering, numbering)
            self.assertEqual([host for host, *_ in shown(columns)], ["web1"])

    def test_paths_of_one_series(self) -> None:
        """Several spellings of a path are one series."""
        numbering = new_numbering()
        parser = GraphiteParser(lambda: numbering, PathReader())
        columns, _ = parser.feed(
            b"".join(line(path=path) for path in (b"web1.cpu", b"servers.web1.cpu", b"cpu;host=web1")), NOW, BOUNDS
        )
        self.assertEqual(columns.series.tolist(), [0, 0, 0])

    @given(st.binary(max_size=80))
    def test_details(self, data: bytes) -> None:
        """What is told of a refused line is safe for a log: short, printable, with a known reason."""
        numbering = new_numbering()
        rejected: list[Rejected] = []
        parser = GraphiteParser(lambda: numbering, PathReader(), max_line=50)
        for piece in (data + b"\n", data.replace(b"\n", b" 1 -1\n") + b" 1 -1\n", data * 2):
            rejected += parser.feed(piece, NOW, BOUNDS)[1]
        for each in rejected:
            self.assertIn(each.reason, REASONS)
            self.assertLess(len(each.detail), 600)
            self.assertTrue(each.detail.isprintable(), each.detail)


LIMIT = 48

STREAM = b"".join(
    (
        b"web1.cpu 1 1792310400\n",
        b"web1.cpu 2 -1\r\n",
        b"\n",
        b"web1.mem;b=2;a=1\t3.5\t1792310401.5\n",
        b"mem;host=web2 4e2 1792310402\n",
        b"one\n",
        b"one two\n",
        b"web1.cpu 5 1792310403 four\n",
        b"web1.cpu nan 1792310404\n",
        b"web1.cpu 6 1\n",
        b"web1.cpu 7 2792310400\n",
        b"web1.long " + b"8" * LIMIT + b" 1792310405\n",
        b" " * (LIMIT + 3) + b"\n",
        b"servers.web3.ok +9 1792310406 \n",
        b"nohost 10 1792310407\n",
        b"web1.\xc3\xbc 11 1792310408\n",
        b"web1.\xff 12 1792310409\n",
        b" \r\n",
        b"web1.last 13 1792310410\n",
        b"web1.unfinished 14 1792310411",
    )
)

STREAM_SAMPLES: list[Sample] = [
    ("web1", "cpu", 1_792_310_400_000, 1.0),
    ("web1", "cpu", 1_792_310_400_250, 2.0),
    ("web1", "mem;a=1;b=2", 1_792_310_401_500, 3.5),
    ("web2", "mem", 1_792_310_402_000, 400.0),
    ("web3", "ok", 1_792_310_406_000, 9.0),
    ("web1", "ü", 1_792_310_408_000, 11.0),
    ("web1", "last", 1_792_310_410_000, 13.0),
]
STREAM_REASONS = {BAD_LINE: 3, BAD_VALUE: 1, TOO_OLD: 1, FUTURE: 1, LONG_LINE: 2, BAD_NAME: 2}

GOOD_STREAM = b"".join(line(b"%d" % i, b"17923104%02d" % i, b"h%d.m%d" % (i % 3, i % 5)) for i in range(12))


def cut_at(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    return [data[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(data)])]


class CutTests(SynchronousTestCase):
    """Wherever the network cuts the stream, samples and refusals are the same."""

    def test_every_cut(self) -> None:
        """A stream of good and bad lines may be cut anywhere."""
        for cut in range(len(STREAM) + 1):
            self.assertEqual(parsed(cut_at(STREAM, [cut]), LIMIT), (STREAM_SAMPLES, STREAM_REASONS), cut)

    def test_every_piece_of_one_size(self) -> None:
        """A stream may come in pieces of any size, down to bytes."""
        for size in range(1, 90):
            cuts = range(size, len(STREAM), size)
            self.assertEqual(parsed(cut_at(STREAM, cuts), LIMIT), (STREAM_SAMPLES, STREAM_REASONS), size)

    def test_every_two_cuts(self) -> None:
        """A stream of good lines may be cut at any two places."""
        whole = parsed([GOOD_STREAM])
        self.assertEqual(len(whole[0]), 12)
        for first in range(0, len(GOOD_STREAM), 3):
            for second in range(first, len(GOOD_STREAM), 7):
                self.assertEqual(parsed(cut_at(GOOD_STREAM, [first, second])), whole, (first, second))

    @settings(max_examples=150)
    @given(
        st.lists(
            st.binary(max_size=12)
            | st.text("a.; =\t\r\n1-e", max_size=12).map(str.encode)
            | st.sampled_from([line(), line(b"x"), b"\n", b"a.b 1 -1\n", b"y" * 15, b"a.b 2 -1\r\n", b" 1 -1\n"]),
            max_size=10,
        ),
        st.data(),
    )
    def test_any(self, parts: list[bytes], data: st.DataObject) -> None:
        """Any bytes may be cut at any places."""
        stream = b"".join(parts)
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
        self.assertEqual(parsed(cut_at(stream, cuts), 30), parsed([stream], 30))


ODD_NUMBERS = b"""
    +5 -5 .5 5. -.5 1e5 1E5 1e+5 1e-5 1e 1_0 nan NaN -nan inf -inf Infinity 0x1 true null None 1,2 1, ,1 ,
    -0 -0.0 0 00 01 -01 1e999 -1e999 1e-999 1e308 5e-324 - + . e --1 1-1 1.2.3 1e5e5
    9223372036854775807 9223372036854775809 18446744073709551615 18446744073709551616 -9223372036854775809
    12345678901234567890 99999999999999999999 1111111111111111111111111111111111111111
    0.1 0.30000000000000004 123456789.123456789 -1 -1.0 -1e0 -10e-1 [1] {} "1" 1] [ ] 1],[1
    \xd9\xa3 \xff 1\0
""".split()


class FastPathTests(SynchronousTestCase):
    """A whole read taken at once gives what its lines give one by one, or is left to them."""

    def taken(self, lines: bytes, max_line: int = MAX_LINE) -> set[bool]:
        """Proves for `lines` that the fast path declines or agrees; returns whether it took them, few or many."""
        return {self.taken_by(many, lines, max_line) for many in (0, MANY)}

    def taken_by(self, many: int, lines: bytes, max_line: int) -> bool:
        """The same for a parser to which `many` bytes are many."""
        numbering = new_numbering()
        parser = GraphiteParser(lambda: numbering, PathReader(), max_line=max_line, many=many)
        by_fast: list[Rejected] = []
        by_careful: list[Rejected] = []
        fast = parser._fast(lines, NOW, BOUNDS, numbering, by_fast)
        careful = parser._careful(lines, NOW, BOUNDS, numbering, by_careful)
        if fast is None:
            self.assertEqual(by_fast, [])
            return False
        self.assertEqual(by_fast, by_careful)
        self.assertEqual(shown(fast), shown(careful))
        self.assertEqual(fast.series.tolist(), careful.series.tolist())
        for column in ("series", "times_ms", "values"):
            self.assertEqual(getattr(fast, column).dtype, getattr(careful, column).dtype)
        return True

    def test_every_bad_name_counts(self) -> None:
        """Of lines whose paths cannot be stored each is told of, also those of one path; the others are stored."""
        lines = line() * 3 + line(path=b"nohost") * 2 + line(path=b"-bad.cpu") + line(path=b"nohost")
        for many in (1, 200):
            _, reasons = parsed([lines * many])
            self.assertEqual(reasons, {BAD_NAME: 4 * many})

    def test_takes_the_usual(self) -> None:
        """What collectors and shell scripts send is read the fast way."""
        for lines in (
            line(),
            line(b"1.5") + line(b"-2", b"-1") + line(b"1e-7", b"1792310400.5"),
            line(b"18446744073709551616"),
            line(time=repr(BOUNDS.newest).encode()),
            line(time=repr(BOUNDS.oldest + 0.001).encode()),
            line(path=b"servers.web1.cpu;b=2;a=1") * 3,
            line(path="web1.ü".encode()),
            GOOD_STREAM,
        ):
            self.assertEqual(self.taken(lines), {True}, lines)

    def test_leaves_the_unusual(self) -> None:
        """What it might read wrong is left to the careful way."""
        for lines in (
            b"\n",
            b"a.b 1 -1\n\n",
            b"a.b 1 -1\r\n",
            b"a.b  1 -1\n",
            b" a.b 1 -1\n",
            b"a.b 1 -1 \n",
            b"a.b\t1 -1\n",
            b"a.b 1 -1\x0b\n",
            b"a.b 1 -1\x0c\n",
            b"a.b\tx 1 -1\n",
            b"a.b 1 -1\tx\n",
            b"a.b\rx 1 -1\n",
            b"a.b\x0bx 1 -1\n",
            b"a.b\x0cx 1 -1\n",
            b"a.b  1\n",
            b"a.b  1\n" * 3,
            b" a.b 1\n",
            b" a.b 1\n" * 3,
            b"a.b 1 \n",
            b"a.b 1 \n" * 3,
            b"  \n",
            b"a.b 1\n-1 a.b 1 -1\n",
            b"a.b 1 -1 a.b\n1 -1\n",
            b"a.b\n1 -1 a.b 1 -1\n",
            b"a.b 1 -1 a.b 1 -1\n\n",
            b"a.b 1,2 -1\n",
            b"a.b 1 1,2\n",
            b"a.b 1 0\n",
            b"a.b 1 9e9\n",
            b"a." + b"b" * MAX_LINE + b" 1 -1\n",
        ):
            self.assertEqual(self.taken(line() + lines), {False}, lines)
            self.assertEqual(self.taken(lines + line()), {False}, lines)

    def test_odd_numbers(self) -> None:
        """However a number is written, as a value or as a time: both ways read it alike."""
        for odd in ODD_NUMBERS:
            for lines in (line(odd), line(time=odd), line(odd, b"-1"), line(odd, odd)):
                self.taken(lines)
                self.taken(line() + lines + line(b"2"))

    def test_odd_neighbours(self) -> None:
        """Two odd numbers do not make up for each other."""
        for one, two in product(ODD_NUMBERS, repeat=2):
            self.taken(line(one) + line(two))

    def test_misaligned(self) -> None:
        """Lines with too few and too many words do not make up for each other."""
        # TIME.5 passes for a path, a value and a time: only counting can tell that a line is wrong.
        word = TIME + b".5"
        for words in product(range(6), repeat=4):
            lines = b"".join(b" ".join([word] * n) + b"\n" for n in words)
            self.assertEqual(self.taken(lines), {set(words) == {3}}, words)
        for space in (b"\t", b"\r", b"\x0b", b"\x0c", b"  "):
            four = word + space + b" ".join([word] * 3) + b"\n"
            two = word + space + word + b"\n"
            for lines in (four * 3, two * 3, two + four, four + two):
                self.assertEqual(self.taken(lines), {False}, lines)

    def test_length(self) -> None:
        """A line of the limit is taken, a longer one is left."""
        for length in range(10, 30):
            lines = line() + b"a." + b"b" * (length - 7) + b" 1 -1\n"
            self.assertEqual(len(lines.split(b"\n")[1]), length)
            self.assertEqual(self.taken(lines, max_line=25), {length <= 25})

    @settings(max_examples=300)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"web1.cpu", b"servers.web1.cpu", b"a.b;k=v", b"a.b;host=c", b"a.b"])
                | st.just(b"nohost"),
                st.floats(allow_nan=False).map(lambda value: repr(value).encode())
                | st.integers().map(lambda value: b"%d" % value)
                | st.sampled_from(ODD_NUMBERS),
                st.floats(NOW - 200_000, NOW + 800).map(lambda value: repr(value).encode())
                | st.sampled_from([b"-1", b"-1.0", TIME])
                | st.sampled_from(ODD_NUMBERS),
            ).map(b" ".join)
            | st.lists(st.sampled_from([b"a.b", b"1", b"-1", TIME]), max_size=5).map(b" ".join)
            | st.sampled_from([b"a.b\t1 -1", b"a.b 1 -1\r", b"a.b  1 -1"]),
            min_size=1,
            max_size=6,
        )
    )
    @example([b"a.b 1", b"a.b 1 -1 2"])
    @example([b"a.b 1 -1 2", b"a.b"])
    def test_any(self, lines: list[bytes]) -> None:
        """Any mixture of good and odd lines."""
        self.taken(b"\n".join(lines) + b"\n")

    @given(
        st.lists(
            st.tuples(
                st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30),
                st.floats(NOW - 172_000, NOW + 600),
            ),
            min_size=1,
            max_size=10,
        )
    )
    def test_any_good_numbers(self, numbers: list[tuple[float | int, float]]) -> None:
        """Finite numbers as Python writes them are read to the last bit, and mostly the fast way."""
        lines = b"".join(line(repr(value).encode(), repr(time).encode()) for value, time in numbers)
        self.assertEqual(self.taken(lines), {True})
        samples, reasons = parsed([lines])
        self.assertEqual([value for *_, value in samples], [float(value) for value, _ in numbers])
        self.assertEqual([time for _, _, time, _ in samples], [round(time * 1000) for _, time in numbers])
        self.assertEqual(reasons, {})


class EncodeTests(SynchronousTestCase):
    @given(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        st.integers(round(NOW * 1000) - 172_000_000, round(NOW * 1000) + 500_000),
    )
    def test_read_again(self, values: list[float], time_ms: int) -> None:
        """What is written is read as the same samples: names with their tags, values to the last bit."""
        metrics = ["cpu", "cpu;state=user", "disk;device=sda;direction=read"]
        samples, reasons = parsed([encode_lines(metrics, "web1.example.com", values, time_ms / 1000)])
        expected = [("web1.example.com", metric, time_ms, value) for metric, value in zip(metrics, values, strict=True)]
        self.assertEqual((samples, reasons), (expected, {}))

    def test_as_many_values_as_metrics(self) -> None:
        """A value too many or too few is an error of the caller."""
        self.assertRaises(ValueError, encode_lines, ["cpu"], "web1", [1.0, 2.0], NOW)
