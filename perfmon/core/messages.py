"""perfmon protocol 1: JSON lines in UTF-8, one message each, told apart by their ``type``.

Both ends use these definitions; decoding validates. What each message means stands in docs/reference/protocol.md.
"""

from collections.abc import Iterator
from typing import TypeVar

import msgspec

_T = TypeVar("_T")

PROTOCOL = 1

# A sampling round of 10,000 metrics takes about 200 kB; a longer line is broken or hostile.
MAX_LINE = 1 << 20  # bytes

# Until its hello is taken a peer may be anybody. A hello has some hundred bytes; one with all the labels it may have,
# MAX_LABELS of MAX_LABEL characters in labels and in platform, has 64 KiB, and twice that if they are not ASCII.
MAX_HELLO = 1 << 17  # bytes

# More metrics than this in one schema would not fit into MAX_LINE with their names.
MAX_SCHEMA = 10_000

MAX_LABELS = 64
MAX_LABEL = 256  # characters, name and value each


class _Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """A line of the protocol."""


class Hello(_Message, frozen=True):
    """Agent, first line: who it is."""

    protocol: int
    host: str
    agent: str = ""  # version of the agent
    boot: str = ""  # id of the host's boot
    instance: str = ""  # id of this run of the agent; a reconnect carries the same
    interval: float = 0.0  # s between sampling rounds
    stopped: bool = False  # it does not sample, because it was told so
    labels: dict[str, str] = {}
    platform: dict[str, str] = {}
    token: str = ""

    def record(self) -> dict[str, str]:
        """What is kept of the host: the fields of its record in the store."""
        return {
            "kind": "agent",
            "labels": _encoder.encode(self.labels).decode(),
            "platform": _encoder.encode(self.platform).decode(),
            "agent": self.agent[:100],
            "interval": repr(self.interval),
        }


class Metrics(_Message, frozen=True):
    """Agent: a schema, the metrics that `samples` of this id carry, in this order."""

    id: int
    names: list[str]


class Samples(_Message, frozen=True):
    """Agent: one sampling round."""

    seq: int  # rises from one to the next
    id: int  # of the schema
    time: float  # s since the epoch
    values: list[float | None]  # None where absent


class Heartbeat(_Message, frozen=True):
    """Agent: a sign of life, its clock (s since the epoch), and what it found out by the echoes so far."""

    time: float
    offset: float | None = None  # s that its clock is ahead of the collector's
    round_trip: float | None = None  # s


class Gap(_Message, frozen=True):
    """Agent: rounds that were sampled and will never come."""

    id: int  # answered by `noted`
    rounds: int
    start: float  # times (s since the epoch) of the first and of the last of them
    stop: float
    reason: str


class Sampling(_Message, frozen=True):
    """Agent, answer to `start`, `stop` and `interval`: whether it samples, and how often (s)."""

    stopped: bool
    interval: float


Figures = dict[str, float | int | bool | str]


class Progress(_Message, frozen=True):
    """Agent: how far a benchmark's run is on its host."""

    run: str  # id
    began: float | None = None  # s since the epoch, by the collector's clock; None before
    expected: Figures = {}  # what was measured, or found out, before
    share: float = 0.0  # of its time
    figures: Figures = {}  # so far


class Result(_Message, frozen=True):
    """Agent: how a run has ended on its host. It is told on every connection until it is `kept`."""

    run: str  # id
    state: str  # done, failed, refused or cancelled
    reason: str = ""
    began: float | None = None
    expected: Figures = {}
    figures: Figures = {}
    pairs: dict[str, Figures] = {}  # by the host at the other end, where the run is between hosts
    output: str = ""  # JSON of the program that was run, where it is not perfmon's own


class Goodbye(_Message, frozen=True):
    """Agent, last line: it leaves on purpose."""

    reason: str = "stopped"  # stopped, restart, upgrade


class Welcome(_Message, frozen=True):
    """Collector, answer to hello: how often to show life (s), and when it counts as departed (s)."""

    protocol: int
    heartbeat: float
    timeout: float


class Error(_Message, frozen=True):
    """Collector, before it closes: why."""

    reason: str


class Ack(_Message, frozen=True):
    """Collector: every `samples` up to this seq is stored."""

    seq: int


class Refused(_Message, frozen=True):
    """Collector: the `samples` of this seq cannot be stored, and why; sending them again would not help."""

    seq: int
    reason: str


class Resend(_Message, frozen=True):
    """Collector: no `samples` from this seq on were taken; they are to be sent again, under the same seqs."""

    seq: int


class Echo(_Message, frozen=True):
    """Collector, answer to a heartbeat, at once: its time, and the collector's own clock (s since the epoch)."""

    time: float
    at: float


class Noted(_Message, frozen=True):
    """Collector: the gap of this id is kept as an event."""

    id: int


class Stop(_Message, frozen=True):
    """Collector: sample no more, until `start`. Signs of life go on."""


class Start(_Message, frozen=True):
    """Collector: sample."""


class Interval(_Message, frozen=True):
    """Collector: sample so often from now on."""

    interval: float  # s


class Run(_Message, frozen=True):
    """Collector: put a load on this host. It is said on every connection until the run has ended there."""

    id: str
    kind: str
    parameters: Figures
    start: float  # s since the epoch, by the collector's clock
    seconds: float = 0.0  # how long it takes as a whole; 0: as long as the parameters say
    begun: bool = False  # this host has told that it has begun: an agent that does not have it cannot begin it anew


class Peer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One that a host meets in a run."""

    host: str
    address: str  # empty: the one under which the collector is connected
    port: int  # 0: it does not answer
    after: float = 0.0  # s after the start of the run


class Peers(_Message, frozen=True):
    """Collector: whom this host meets in a run, in this order. A run between hosts does not begin before."""

    run: str  # id
    peers: list[Peer]


class Cancel(_Message, frozen=True):
    """Collector: end a run early."""

    id: str
    reason: str = ""


class Kept(_Message, frozen=True):
    """Collector: the result of this run is kept."""

    run: str  # id


class Reconnect(_Message, frozen=True):
    """Collector: close, and connect anew, to another server where there is one, within so many seconds."""

    reason: str
    within: float = 0.0  # s; each agent takes a random part of it


FromAgent = Hello | Metrics | Samples | Heartbeat | Gap | Sampling | Progress | Result | Goodbye
OfRuns = Run | Peers | Cancel | Kept
FromCollector = Welcome | Error | Ack | Refused | Resend | Echo | Noted | Stop | Start | Interval | OfRuns | Reconnect


class ProtocolError(Exception):
    """The peer broke the protocol; `str()` is the sentence to tell it."""


class LineBuffer:
    """Cuts a byte stream into lines, keeping the unfinished last one."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self.max_line = max_line
        # The unfinished line. Not a list of its pieces: of two bytes each they would take twenty times as much.
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, without their ends and without empty ones.

        Raises `ProtocolError` once a line is over the limit.
        """
        *lines, rest = data.split(b"\n")
        if lines and self._rest:
            lines[0] = bytes(self._rest + lines[0])
            self._rest = bytearray()
        self._rest += rest
        for line in lines:
            if len(line) > self.max_line:
                break
            if line and not line.isspace():
                yield line
        else:
            if len(self._rest) <= self.max_line:
                return
        raise ProtocolError(f"line over {self.max_line} bytes")


_encoder = msgspec.json.Encoder()
_from_agent: msgspec.json.Decoder[FromAgent] = msgspec.json.Decoder(FromAgent)
_from_collector: msgspec.json.Decoder[FromCollector] = msgspec.json.Decoder(FromCollector)


def encode(message: _Message) -> bytes:
    """`message` as a line with its end."""
    return _encoder.encode(message) + b"\n"


_BEFORE = b'{"type":"samples","seq":0,"id":0,'


def body(samples: Samples) -> bytes:
    """What the line of `samples` has behind its seq and id, which are given when it is sent, and must be 0."""
    line = encode(samples)
    assert line.startswith(_BEFORE), "an encoder that orders or writes fields otherwise"
    return line[len(_BEFORE) :]


def samples_line(seq: int, id: int, body: bytes) -> bytes:
    """The line of `samples` with this `body`."""
    return b'{"type":"samples","seq":%d,"id":%d,%b' % (seq, id, body)


def metrics_line(id: int, names: bytes) -> bytes:
    """The line of `metrics`; `names` is a list of strings in JSON."""
    return b'{"type":"metrics","id":%d,"names":%b}\n' % (id, names)


def from_agent(line: bytes) -> FromAgent:
    """What an agent sent. Raises `ProtocolError`."""
    return _decode(_from_agent, line)


def from_collector(line: bytes) -> FromCollector:
    """What a collector sent. Raises `ProtocolError`."""
    return _decode(_from_collector, line)


def _decode(decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        # The problem may quote the line: short and printable, it is safe for a log.
        shown = "".join(char if char.isprintable() else "?" for char in str(problem)[:200])
        raise ProtocolError(f"bad message: {shown}") from None


def label_problem(labels: dict[str, str]) -> str | None:
    """Why `labels` cannot be kept, if they cannot."""
    if len(labels) > MAX_LABELS:
        return f"more than {MAX_LABELS} labels"
    for name, value in labels.items():
        if not name or len(name) > MAX_LABEL or len(value) > MAX_LABEL or not (name + value).isprintable():
            return f"label {name[:40]!r}: names and values have at most {MAX_LABEL} printable characters"
    return None
