"""Kinds of load that benchmarks run, and what may be asked of each.

Parameters come as JSON objects; what is not given has a default, and what is not known is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MAX_SECONDS = 86_400.0

MAX_MESSAGE = 1 << 24  # bytes of an echo's message

Seconds = Annotated[float, Meta(ge=1.0, le=MAX_SECONDS)]


class BadLoad(ValueError):
    """What is asked for cannot be run; `str()` says why."""


class _Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    seconds: Seconds = 60.0  # how long it runs


class DiskWrite(_Load, frozen=True, kw_only=True):
    """Writes chunk after chunk, and goes on in a new file when one has its size; only the last two files are kept."""

    chunk: Annotated[int, Meta(ge=512, le=1 << 30)] = 1 << 20  # bytes written at once
    roll: Annotated[int, Meta(ge=512, le=1 << 40)] = 100 << 20  # bytes of a file
    fsync: Literal["never", "roll", "chunk"] = "roll"  # after what the disk is to have it


class Cpu(_Load, frozen=True, kw_only=True):
    """Computes SHA-256 of blocks of 1 MiB."""

    threads: Annotated[int, Meta(ge=0, le=4096)] = 0  # 0: as many as there are CPUs


class Fio(_Load, frozen=True, kw_only=True):
    """One job of fio, where that is installed; the words are fio's."""

    rw: Literal["read", "write", "randread", "randwrite", "readwrite", "randrw"] = "randread"
    bs: Annotated[int, Meta(ge=512, le=1 << 30)] = 4_096  # bytes of one operation
    size: Annotated[int, Meta(ge=512, le=1 << 40)] = 256 << 20  # bytes of a job's file
    numjobs: Annotated[int, Meta(ge=1, le=64)] = 1
    iodepth: Annotated[int, Meta(ge=1, le=1024)] = 1
    ioengine: Literal["psync", "libaio", "io_uring"] = "psync"
    direct: bool = False  # past the page cache
    fsync: Annotated[int, Meta(ge=0)] = 0  # after so many writes; 0: never
    fallocate: Literal["native", "none"] = "native"  # whether a file has its room before it is written


class Echo(_Load, frozen=True, kw_only=True):
    """Sends messages to others, who answer each with its SHA-1, which is checked."""

    size: Annotated[int, Meta(ge=8, le=MAX_MESSAGE)] = 8_192  # bytes of a message
    rate: Annotated[float, Meta(gt=0.0, le=10_000.0)] = 10.0  # messages a second, to each of the others
    pairs: Literal["collector", "ring", "all"] = "collector"  # to whom: the next host is meant by ring
    to: str = ""  # a host: all send to it, whatever `pairs` says


class Iperf3(_Load, frozen=True, kw_only=True):
    """Tests of iperf3, where that is installed; `seconds` are those of one, and no server has two at once."""

    pairs: Literal["ring", "all"] = "ring"
    to: str = ""  # a host: all test against it, one after the other
    protocol: Literal["tcp", "udp"] = "tcp"
    parallel: Annotated[int, Meta(ge=1, le=64)] = 1  # streams at once
    bitrate: Annotated[int, Meta(ge=0, le=1 << 50)] = 0  # bits a second of a stream; 0: iperf3's own default
    reverse: bool = False  # the server sends


Paired = Echo | Iperf3
Load = DiskWrite | Cpu | Fio | Echo | Iperf3

KINDS: Mapping[str, type[Load]] = {"disk-write": DiskWrite, "cpu": Cpu, "fio": Fio, "echo": Echo, "iperf3": Iperf3}

# What a host has done by the end, in one figure: bytes per second. Of these there are totals over all hosts.
MAIN_FIGURE = "rate"


@dataclass(frozen=True, slots=True)
class Limits:
    """What benchmarks may take of a machine."""

    seconds: float  # the longest run
    space: int  # bytes on the disk, at any moment


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a load's process is told first."""

    kind: str
    parameters: dict[str, float | int | bool | str]
    folder: str = ""  # its own, and not there yet
    run: str  # id
    host: str  # that it is on
    seconds: float  # how long the run takes as a whole
    address: str = "127.0.0.1"  # on which it answers others
    port: int = 0  # the same; 0: any


@dataclass(frozen=True, slots=True)
class Reach:
    """How others reach a machine in benchmarks between machines."""

    port: int = 0  # on which it answers; 0: any that is free
    address: str = ""  # that the others are told; empty: the one from which it is connected to the collector
    outside: int = 0  # port that the others are told; 0: the one on which it answers


def checked_load(kind: str, parameters: Any) -> Load:
    """The load of this kind with these parameters, a JSON object. Raises `BadLoad`."""
    known = KINDS.get(kind)
    if known is None:
        raise BadLoad(f"kind {kind[:40]!r} is unknown: use one of {', '.join(KINDS)}")
    try:
        load = msgspec.convert(parameters, known)
    except msgspec.ValidationError as problem:
        fields = ", ".join(known.__struct_fields__)
        raise BadLoad(f"parameters of {kind}: {str(problem)[:200]}; it takes {fields}") from None
    if isinstance(load, DiskWrite) and load.roll < load.chunk:
        raise BadLoad("parameters of disk-write: roll is a file's size, and a chunk has to fit into it")
    if isinstance(load, Echo) and load.rate * load.seconds < 1:
        raise BadLoad("parameters of echo: at this rate not one message is sent in the time")
    return load


def most_bytes(load: Load) -> int:
    """What a load takes of the disk at most, at any moment."""
    if isinstance(load, DiskWrite):
        return 2 * (load.roll + load.chunk)  # two files, and a chunk of each beyond its size
    return load.size * load.numjobs if isinstance(load, Fio) else 0
