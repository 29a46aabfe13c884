"""The format of a head: an append-only log of self-describing frames. `head_reader` reads it.

A head may be appended to by several writers that know nothing of each other. Each gives the metrics of the
host small numbers of its own, declares them in the head itself, and marks its frames with its writer id, so
nothing but the head is needed to read it. All integers and floats are little-endian::

    frame    kind u8 | version u8 | 0 u16 | writer u32 | length u32 | body (length bytes)

    head     identity (8 bytes)
    names    first u32 | names, UTF-8, separated by newlines: they get the numbers first, first + 1, ...
    samples  records (number u32 | offset u32 | value f64)
    rows     first u32 | columns u32 | records (offset u32) | records (value f64 x columns)

An offset is in milliseconds since the start of the window. A row is one sampling round: its values belong to
the numbers first, first + 1, ...; NaN means absent, and is never stored as a value. Names may follow the
samples that use them; samples whose number is declared nowhere are skipped: such an append was never confirmed
(see `heads.confirm`). The head frame comes first; it tells a head from a later one of the same key, which has
not been told what the first was told. A sample repeated (same metric, same time) counts once: the last one in the log
wins (so a writer keeps to one number for a metric in its samples frames, and names no metric twice in one row).
"""

import struct
from collections.abc import Iterable, Sequence

import numpy as np

VERSION = 1

HEAD = ord("H")
NAMES = ord("N")
SAMPLES = ord("S")
ROWS = ord("R")

RECORD = np.dtype([("number", "<u4"), ("offset", "<u4"), ("value", "<f8")])

FRAME_HEADER = struct.Struct("<BBHII")
ROWS_HEADER = struct.Struct("<II")
NAMES_HEADER = struct.Struct("<I")


class FormatError(Exception):
    """A stored value that this version of perfmon cannot read; says where and what it met."""


def _frame(kind: int, writer: int, body: bytes) -> bytes:
    return FRAME_HEADER.pack(kind, VERSION, 0, writer, len(body)) + body


def head_frame(identity: bytes) -> bytes:
    """The first frame of a head; `identity` is 8 bytes that no other head has (drawn at random)."""
    return _frame(HEAD, 0, identity)


def names_frame(writer: int, first: int, names: Iterable[str]) -> bytes:
    """Declares `names` as the numbers first, first + 1, ... of `writer`."""
    return _frame(NAMES, writer, NAMES_HEADER.pack(first) + "\n".join(names).encode())


def samples_frame(writer: int, records: bytes) -> bytes:
    """Samples in any order; `records` is an array of `RECORD` as bytes."""
    return _frame(SAMPLES, writer, records)


def rows_frame(writer: int, first: int, columns: int, offsets: Sequence[int], values: bytes) -> bytes:
    """Sampling rounds: `offsets` (ms) of each, and `values` (f64, one row after another) as bytes."""
    return _frame(
        ROWS, writer, b"".join((ROWS_HEADER.pack(first, columns), struct.pack(f"<{len(offsets)}I", *offsets), values))
    )
