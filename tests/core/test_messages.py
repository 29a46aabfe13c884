"""Tests for `perfmon.core.messages`."""

import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise
from math import inf, nan
from typing import get_args

import msgspec
import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.messages import (
    MAX_LABEL,
    MAX_LABELS,
    MAX_LINE,
    MAX_SCHEMA,
    PROTOCOL,
    Ack,
    Cancel,
    Echo,
    Error,
    FromAgent,
    FromCollector,
    Gap,
    Goodbye,
    Heartbeat,
    Hello,
    Interval,
    Kept,
    LineBuffer,
    Metrics,
    Noted,
    Peer,
    Peers,
    Progress,
    ProtocolError,
    Reconnect,
    Refused,
    Resend,
    Result,
    Run,
    Samples,
    Sampling,
    Start,
    Stop,
    Welcome,
    encode,
    from_agent,
    from_collector,
    label_problem,
)

integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=20)
figures = st.dictionaries(texts, st.one_of(floats, integers, st.booleans(), texts), max_size=3)
pairs = st.dictionaries(texts, figures, max_size=2)
dictionaries = st.dictionaries(texts, texts, max_size=3)

from_agents = st.one_of(
    st.builds(Hello, integers, texts, texts, texts, texts, floats, st.booleans(), dictionaries, dictionaries, texts),
    st.builds(Metrics, integers, st.lists(texts, max_size=5)),
    st.builds(Samples, integers, integers, floats, st.lists(st.none() | floats, max_size=5)),
    st.builds(Heartbeat, floats, st.none() | floats, st.none() | floats),
    st.builds(Gap, integers, integers, floats, floats, texts),
    st.builds(Sampling, st.booleans(), floats),
    st.builds(Progress, texts, st.none() | floats, figures, floats, figures),
    st.builds(
        Result,
        texts,
        texts,
        texts,
        st.none() | floats,
        figures,
        figures,
        st.dictionaries(texts, figures, max_size=2),
        texts,
    ),
    st.builds(Goodbye, texts),
)
from_collectors = st.one_of(
    st.builds(Welcome, integers, floats, floats),
    st.builds(Error, texts),
    st.builds(Ack, integers),
    st.builds(Refused, integers, texts),
    st.builds(Resend, integers),
    st.builds(Echo, floats, floats),
    st.builds(Noted, integers),
    st.builds(Stop),
    st.builds(Start),
    st.builds(Interval, floats),
    st.builds(Run, texts, texts, figures, floats, floats, st.booleans()),
    st.builds(Peers, texts, st.lists(st.builds(Peer, texts, texts, integers, floats), max_size=3)),
    st.builds(Cancel, texts, texts),
    st.builds(Kept, texts),
    st.builds(Reconnect, texts, floats),
)


class CodecTests(SynchronousTestCase):
    def test_layout(self) -> None:
        """A message is one line of JSON that begins with its type; defaults are left out."""
        for message, text in (
            (Hello(PROTOCOL, "web1"), b'{"type":"hello","protocol":1,"host":"web1"}'),
            (Hello(1, "w", labels={"a": "b"}), b'{"type":"hello","protocol":1,"host":"w","labels":{"a":"b"}}'),
            (Metrics(1, ["a", "b"]), b'{"type":"metrics","id":1,"names":["a","b"]}'),
            (Samples(7, 1, 2.5, [1.0, None]), b'{"type":"samples","seq":7,"id":1,"time":2.5,"values":[1.0,null]}'),
            (Heartbeat(2.5), b'{"type":"heartbeat","time":2.5}'),
            (Heartbeat(2.5, -0.5, 0.25), b'{"type":"heartbeat","time":2.5,"offset":-0.5,"round_trip":0.25}'),
            (
                Gap(1, 3, 2.5, 4.5, "full"),
                b'{"type":"gap","id":1,"rounds":3,"start":2.5,"stop":4.5,"reason":"full"}',
            ),
            (Sampling(True, 2.0), b'{"type":"sampling","stopped":true,"interval":2.0}'),
            (Progress("7", 2.5, share=0.5), b'{"type":"progress","run":"7","began":2.5,"share":0.5}'),
            (Result("7", "done", figures={"x": 1}), b'{"type":"result","run":"7","state":"done","figures":{"x":1}}'),
            (Goodbye(), b'{"type":"goodbye"}'),
            (Goodbye("upgrade"), b'{"type":"goodbye","reason":"upgrade"}'),
            (Welcome(1, 2.0, 6.0), b'{"type":"welcome","protocol":1,"heartbeat":2.0,"timeout":6.0}'),
            (Error("no"), b'{"type":"error","reason":"no"}'),
            (Ack(7), b'{"type":"ack","seq":7}'),
            (Refused(7, "old"), b'{"type":"refused","seq":7,"reason":"old"}'),
            (Resend(7), b'{"type":"resend","seq":7}'),
            (Echo(2.5, 2.75), b'{"type":"echo","time":2.5,"at":2.75}'),
            (Noted(1), b'{"type":"noted","id":1}'),
            (Stop(), b'{"type":"stop"}'),
            (Start(), b'{"type":"start"}'),
            (Interval(5.0), b'{"type":"interval","interval":5.0}'),
            (
                Run("7", "cpu", {"seconds": 5}, 2.5),
                b'{"type":"run","id":"7","kind":"cpu","parameters":{"seconds":5},"start":2.5}',
            ),
            (
                Peers("7", [Peer("web2", "", 5300)]),
                b'{"type":"peers","run":"7","peers":[{"host":"web2","address":"","port":5300}]}',
            ),
            (Cancel("7", "enough"), b'{"type":"cancel","id":"7","reason":"enough"}'),
            (Kept("7"), b'{"type":"kept","run":"7"}'),
            (Reconnect("stops", 2.0), b'{"type":"reconnect","reason":"stops","within":2.0}'),
        ):
            self.assertEqual(encode(message), text + b"\n")

    @given(from_agents)
    def test_round_trip_from_agent(self, message: FromAgent) -> None:
        """A collector understands what an agent says; and it is one line."""
        line = encode(message)
        self.assertEqual(from_agent(line), message)
        self.assertEqual(line.find(b"\n"), len(line) - 1)

    @given(from_collectors)
    def test_round_trip_from_collector(self, message: FromCollector) -> None:
        """An agent understands what a collector says; and it is one line."""
        line = encode(message)
        self.assertEqual(from_collector(line), message)
        self.assertEqual(line.find(b"\n"), len(line) - 1)

    def test_all_messages_are_tried(self) -> None:
        """The round trips above leave out no message."""
        for union, tried in ((FromAgent, from_agents), (FromCollector, from_collectors)):
            names = {kind.__name__ for kind in get_args(union)}
            self.assertEqual(names, {name for name in names if f"builds({name}" in repr(tried)})

    def test_absent(self) -> None:
        """What is no number in JSON goes out as absent."""
        message = from_agent(encode(Samples(1, 1, 1.0, [nan, inf, -inf, None, 0.0])))
        self.assertEqual(message, Samples(1, 1, 1.0, [None, None, None, None, 0.0]))

    def test_tolerance(self) -> None:
        """Integers pass for floats, fields may come in any order and unknown ones are for later versions."""
        for line, message in (
            (b'{"type":"heartbeat","time":3}', Heartbeat(3.0)),
            (b'{"time":3,"type":"heartbeat"}', Heartbeat(3.0)),
            (b' { "type" : "heartbeat" , "time" : 3e0 } \r', Heartbeat(3.0)),
            (b'{"type":"heartbeat","time":3,"new":[{"deep":null}]}', Heartbeat(3.0)),
            (
                b'{"type":"samples","seq":1,"id":1,"time":1,"values":[1,null,-2.5]}',
                Samples(1, 1, 1.0, [1.0, None, -2.5]),
            ),
        ):
            self.assertEqual(from_agent(line), message)

    def test_frozen(self) -> None:
        """Messages are values: nobody changes them, and equal ones are equal."""
        message = Ack(1)
        with self.assertRaises(AttributeError):
            message.seq = 2  # type: ignore[misc]  # that is the point
        self.assertEqual(message, Ack(1))
        self.assertNotEqual(message, Ack(2))

    def test_direction(self) -> None:
        """Each side refuses what only it may say itself."""
        self.assertFalse(set(get_args(FromAgent)) & set(get_args(FromCollector)))
        for message in (Hello(1, "a"), Metrics(1, []), Samples(1, 1, 1.0, []), Heartbeat(1.0), Goodbye()):
            with self.assertRaises(ProtocolError):
                from_collector(encode(message))
        for answer in (Welcome(1, 1.0, 1.0), Error(""), Ack(1), Refused(1, ""), Echo(1.0, 1.0)):
            with self.assertRaises(ProtocolError):
                from_agent(encode(answer))

    def test_the_largest_round_fits(self) -> None:
        """A round of the largest schema, and the schema itself with names of common length, fit into a line."""
        values: list[float | None] = [1 / 3 + place for place in range(MAX_SCHEMA)]
        names = [f"system.network.io;device=veth{place:08x};direction=receive" for place in range(MAX_SCHEMA)]
        for message in (Samples(2**53, 2**53, 1_792_310_400.123, values), Metrics(1, names)):
            self.assertLess(len(encode(message)), MAX_LINE)


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + closing * depth


class HostileTests(SynchronousTestCase):
    def refused(self, line: bytes) -> None:
        for decode in (from_agent, from_collector):
            with self.assertRaises(ProtocolError, msg=line[:80]) as caught:
                decode(line)
            self.assertTrue(str(caught.exception).startswith("bad message: "))
            self.assertLess(len(str(caught.exception)), 300)
            self.assertTrue(str(caught.exception).isprintable())

    def test_not_json(self) -> None:
        """What is no JSON object is refused."""
        for line in (
            b"",
            b" ",
            b"web1.cpu 42 1792310400",
            b"GET / HTTP/1.1",
            b"null",
            b"1",
            b'"ack"',
            b"[]",
            b'[{"type":"ack","seq":1}]',
            b"{",
            b"{}",
            b"{}{}",
            b'{"type":"ack","seq":1}x',
            b'{"type":"ack","seq":1}{}',
            b"{'type':'ack','seq':1}",
            b'{"type":"ack","seq":1,}',
            b'\xef\xbb\xbf{"type":"ack","seq":1}',
            b"\0",
            b"\xff\xfe",
            b"\x16\x03\x01\x02\x00\x01",
        ):
            self.refused(line)

    def test_types(self) -> None:
        """A type that is unknown, missing or no text is refused."""
        for kind in (
            b'"run"',
            b'"Ack"',
            b'""',
            b"1",
            b"null",
            b"{}",
            b"[]",
            b'"' + b"x" * 10_000 + b'"',
            b'"ack\\u0000"',
            b'"\\u001b[2J"',
        ):
            self.refused(b'{"type":%s,"seq":1,"time":1,"reason":"x"}' % kind)
        self.refused(b'{"seq":1}')

    def test_fields(self) -> None:
        """A field that is missing or of another type is refused."""
        for line in (
            b'{"type":"hello"}',
            b'{"type":"hello","protocol":1}',
            b'{"type":"hello","protocol":"1","host":"a"}',
            b'{"type":"hello","protocol":1.5,"host":"a"}',
            b'{"type":"hello","protocol":true,"host":"a"}',
            b'{"type":"hello","protocol":1,"host":null}',
            b'{"type":"hello","protocol":1,"host":["a"]}',
            b'{"type":"hello","protocol":1,"host":"a","labels":[]}',
            b'{"type":"hello","protocol":1,"host":"a","labels":{"a":1}}',
            b'{"type":"hello","protocol":1,"host":"a","labels":null}',
            b'{"type":"hello","protocol":1,"host":"a","interval":"10"}',
            b'{"type":"metrics","id":1,"names":"ab"}',
            b'{"type":"metrics","id":1,"names":[1]}',
            b'{"type":"metrics","id":1,"names":{"a":1}}',
            b'{"type":"samples","seq":1,"id":1,"time":1,"values":[true]}',
            b'{"type":"samples","seq":1,"id":1,"time":1,"values":["1"]}',
            b'{"type":"samples","seq":1,"id":1,"time":null,"values":[]}',
            b'{"type":"samples","seq":1,"id":1,"time":1,"values":[[1]]}',
            b'{"type":"heartbeat"}',
            b'{"type":"heartbeat","time":"now"}',
            b'{"type":"ack","seq":1.5}',
            b'{"type":"ack","seq":null}',
            b'{"type":"error","reason":1}',
            b'{"type":"welcome","protocol":1,"heartbeat":1}',
        ):
            self.refused(line)

    def test_numbers(self) -> None:
        """Numbers that are none in JSON, or without end, are refused."""
        for number in (
            b"NaN",
            b"nan",
            b"Infinity",
            b"-inf",
            b"1e999",
            b"-1e999",
            b"+1",
            b".5",
            b"1.",
            b"01",
            b"0x1",
            b"-",
        ):
            self.refused(b'{"type":"heartbeat","time":%s}' % number)
        self.refused(b'{"type":"heartbeat","time":%s}' % (b"9" * 400))
        for digits in (5000, 100_000):
            self.refused(b'{"type":"heartbeat","time":%s}' % (b"9" * digits))
            self.refused(b'{"type":"ack","seq":%s}' % (b"9" * digits))
            self.refused(b'{"type":"samples","seq":%s,"id":1,"time":1,"values":[]}' % (b"9" * digits))

    def test_large_numbers(self) -> None:
        """A seq larger than any integer of a machine is as good as another: it can be acknowledged."""
        for seq in (2**53 + 1, 2**63, 2**64, 10**400):
            message = from_agent(b'{"type":"samples","seq":%d,"id":1,"time":1,"values":[]}' % seq)
            self.assertEqual(message, Samples(seq, 1, 1.0, []))
            self.assertEqual(from_collector(encode(Ack(seq))), Ack(seq))

    def test_text(self) -> None:
        """Text that is not Unicode is refused."""
        for text in (
            b"\xff",
            b"a\xc3",
            b"\xed\xa0\x80",
            b"\xc0\x80",
            b"\\ud800",
            b"\\udc00\\ud800",
            b"\\x",
            b"\n",
            b"\0",
        ):
            self.refused(b'{"type":"goodbye","reason":"%s"}' % text)
            self.refused(b'{"type":"error","reason":"%s"}' % text)
            self.refused(b'{"type":"hello","protocol":1,"host":"a","labels":{"%s":"b"}}' % text)

    def test_depth(self) -> None:
        """However deep it is nested, known field or unknown: refused, and the stack is not at risk."""
        for depth in (2000, 100_000):
            for value in (
                nested(b"[", b"]", depth),
                nested(b'{"a":', b"}", depth).replace(b":}", b":1}"),
                b"[" * depth,
            ):
                for line in (
                    value,
                    b'{"type":%s}' % value,
                    b'{"type":"heartbeat","x":%s,"time":1}' % value,
                    b'{"x":%s,"type":"ack","seq":1}' % value,
                    b'{"type":"hello","protocol":1,"host":"a","labels":%s}' % value,
                    b'{"type":"metrics","id":1,"names":%s}' % value,
                    b'{"type":"samples","seq":1,"id":1,"time":1,"values":%s}' % value,
                ):
                    self.refused(line)

    def decoded(self, line: bytes) -> None:
        """Proves that `line` is understood or refused, nothing else."""
        for decode, kinds in ((from_agent, get_args(FromAgent)), (from_collector, get_args(FromCollector))):
            decode_any: Callable[[bytes], object] = decode
            try:
                self.assertIsInstance(decode_any(line), kinds)
            except ProtocolError:
                continue

    @settings(max_examples=200)
    @given(st.binary(max_size=60) | st.text('{}[]":,\\ackseqtyp01.eE-', max_size=60).map(str.encode))
    def test_any_bytes(self, line: bytes) -> None:
        """No bytes fail with anything but `ProtocolError`."""
        self.decoded(line)

    @settings(max_examples=100)
    @given(
        st.dictionaries(
            st.sampled_from(["seq", "id", "time", "values", "names", "host", "protocol", "labels", "reason", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=6,
            ),
        ),
        st.sampled_from([kind.__name__.lower() for union in (FromAgent, FromCollector) for kind in get_args(union)]),
    )
    def test_any_fields(self, fields: dict[str, object], kind: str) -> None:
        """No fields of a known type fail with anything but `ProtocolError`."""
        self.decoded(msgspec.json.encode({"type": kind, **fields}))

    @given(from_agents | from_collectors, st.data())
    def test_any_damage(self, message: FromAgent | FromCollector, data: st.DataObject) -> None:
        """A good line cut short or with bytes changed is understood or refused."""
        line = bytearray(encode(message))
        place = st.integers(0, len(line) - 1)
        for at, byte in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=2)):
            line[at] = byte
        self.decoded(bytes(line))
        self.decoded(bytes(line[: data.draw(place)]))


class RecordTests(SynchronousTestCase):
    def test_record(self) -> None:
        """The record of a host holds text alone, its labels and platform as JSON."""
        record = Hello(
            1, "a", agent="1.2", boot="b", interval=2.5, labels={"ü": "x"}, platform={"os": "Linux"}
        ).record()
        self.assertEqual(orjson.loads(record.pop("labels")), {"ü": "x"})
        self.assertEqual(orjson.loads(record.pop("platform")), {"os": "Linux"})
        self.assertEqual(record, {"kind": "agent", "agent": "1.2", "interval": "2.5"})

    def test_no_secrets(self) -> None:
        """The token is not kept."""
        self.assertNotIn("secret", "".join(Hello(1, "a", token="secret").record().values()))


class LabelTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Labels up to the limits can be kept."""
        for labels in (
            {},
            {"role": "web"},
            {"role": ""},
            {"a b": "c d"},
            {"ü": "ß"},
            {"n" * MAX_LABEL: "v" * MAX_LABEL},
            {str(number): "" for number in range(MAX_LABELS)},
        ):
            self.assertIsNone(label_problem(labels))

    def test_bad(self) -> None:
        """Labels that are too many, too long, nameless or not printable cannot, and the answer is a sentence."""
        for labels, shown in (
            ({str(number): "" for number in range(MAX_LABELS + 1)}, f"more than {MAX_LABELS} labels"),
            ({"n" * (MAX_LABEL + 1): ""}, "'nnn"),
            ({"role": "v" * (MAX_LABEL + 1)}, "label 'role'"),
            ({"": "v"}, "label ''"),
            ({"role": "a\nb"}, "label 'role'"),
            ({"ro\0le": "a"}, "label 'ro\\x00le'"),
            ({"good": "a", "bad": "\x1b[2J"}, "label 'bad'"),
        ):
            problem = label_problem(labels)
            assert problem is not None
            self.assertIn(shown, problem)
            self.assertTrue(problem.isprintable())
            self.assertLess(len(problem), 200)


STREAM = b'one\r\n\ntwo 2\n \t\r\n{"three":3}\n\n\nfour\nunfinished'
LINES = [b"one\r", b"two 2", b'{"three":3}', b"four"]
LIMIT = 11  # as long as the longest of LINES


def lines_of(pieces: Iterable[bytes], limit: int) -> tuple[list[bytes], bool]:
    """The lines that a stream gives piece by piece, up to a refusal; and whether there was one."""
    buffer = LineBuffer(limit)
    lines: list[bytes] = []
    for piece in pieces:
        try:
            lines.extend(buffer.feed(piece))
        except ProtocolError:
            return lines, True
    return lines, False


def cut_at(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    return [data[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(data)])]


class LineBufferTests(SynchronousTestCase):
    def test_every_cut(self) -> None:
        """Wherever the network cuts the stream, the lines are the same."""
        for first in range(len(STREAM) + 1):
            for second in range(first, len(STREAM) + 1):
                self.assertEqual(lines_of(cut_at(STREAM, [first, second]), LIMIT), (LINES, False), (first, second))
        self.assertEqual(lines_of((STREAM[i : i + 1] for i in range(len(STREAM))), LIMIT), (LINES, False))

    def test_over_long(self) -> None:
        """A line over the limit is refused, finished or not, wherever it is cut; those before it are given."""
        for stream in (STREAM + b"xx\nmore\n", STREAM + b"xx", STREAM + b"x" * 100):
            for cut in range(len(stream) + 1):
                self.assertEqual(lines_of(cut_at(stream, [cut]), LIMIT), (LINES, True), cut)

    def test_limit(self) -> None:
        """A line of the limit is given, one byte more is refused with the limit named."""
        self.assertEqual(lines_of([b"x" * 20 + b"\n"], 20), ([b"x" * 20], False))
        self.assertEqual(lines_of([b"x" * 20, b"\n"], 20), ([b"x" * 20], False))
        for pieces in ([b"x" * 21], [b"x" * 21 + b"\n"], [b"x" * 20, b"x"], [b"x" * 20, b"x\n"]):
            self.assertEqual(lines_of(pieces, 20), ([], True))
        with self.assertRaises(ProtocolError) as caught:
            list(LineBuffer(20).feed(b"x" * 21))
        self.assertIn("over 20 bytes", str(caught.exception))

    def test_small_pieces(self) -> None:
        """An unfinished line takes as much memory as it has bytes, also when it comes in very small pieces."""
        buffer = LineBuffer()
        piece = bytes(range(65, 67))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(20_000):
            list(buffer.feed(piece[:1] + piece[1:]))
        taken, _ = tracemalloc.get_traced_memory()
        self.assertLess(taken, 2 * 40_000)
        self.assertEqual([len(line) for line in buffer.feed(b"\n")], [40_000])

    def test_raised_limit(self) -> None:
        """The limit may be raised between two lines of one read: the next one has it."""
        buffer = LineBuffer(2)
        lines = buffer.feed(b"ab\nabcd\nab")
        self.assertEqual(next(lines), b"ab")
        buffer.max_line = 4
        self.assertEqual(list(lines), [b"abcd"])

    def test_default_limit(self) -> None:
        """By default a line may be as long as the protocol allows."""
        self.assertEqual(len(list(LineBuffer().feed(b"x" * MAX_LINE + b"\n"))), 1)
        with self.assertRaises(ProtocolError):
            list(LineBuffer().feed(b"x" * (MAX_LINE + 1)))

    @given(
        st.lists(st.binary(max_size=8) | st.sampled_from([b"\n", b"\r\n", b"ab\n", b" "]), max_size=12).map(b"".join),
        st.data(),
    )
    @example(b"\n\n", None)
    def test_any(self, stream: bytes, data: st.DataObject | None) -> None:
        """Any bytes, cut anywhere, are cut into the lines that they are."""
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6)) if data else [1]
        *finished, rest = stream.split(b"\n")
        lines: list[bytes] = []
        refused = False
        for line in [*finished, rest]:
            if len(line) > 10:
                refused = True
                break
            lines.append(line)
        expected = [line for line in lines[: len(finished)] if line.strip()]
        self.assertEqual(lines_of(cut_at(stream, cuts), 10), (expected, refused))
