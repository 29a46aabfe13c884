"""What becomes of a window when it is sealed or rolled up: fields in, fields out.

Each is a generator that yields between pieces of work of some milliseconds at most, and returns the new fields.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from perfmon.core.chunks import TIMES_FIELD, Joiner, Sealer, Times, read_samples, tagged_field
from perfmon.core.columns import Column
from perfmon.core.frames import FormatError
from perfmon.core.head_reader import read_tables
from perfmon.core.rollups import Roller, Rollup, decode_rollup, encode_rollup, joined, regrouped, split
from perfmon.core.tiers import MS, Tier

FED_FIELD = ";fed"

# A raw window that has it was begun when it would have expired: what is in it is not all there was.
LATE_FIELD = ";late"

Fields = Mapping[str, bytes]
Work = Generator[None, None, dict[str, bytes]]


@dataclass(frozen=True, slots=True)
class Sealed:
    """The fields of one window in the store; `key` is where."""

    window: int  # s since the epoch
    fields: Fields
    key: str

    def metrics(self) -> list[str]:
        return [name for name in self.fields if not name.startswith(";")]


class _Samples:
    """The samples of a raw window, by metric."""

    def __init__(self, sealed: Sealed) -> None:
        """Raises `FormatError`, as all here do."""
        self._sealed = sealed
        self._joiner = Joiner()
        try:
            self._times = Times(sealed.window, sealed.fields.get(TIMES_FIELD, b""))
        except FormatError as problem:
            raise FormatError(f"{sealed.key} {TIMES_FIELD}: {problem}") from None

    def of(self, metric: str, later: Column | None = None) -> Column | None:
        """All of a metric, with what was written of it later; None for nothing."""
        chunk = self._sealed.fields.get(metric)
        if chunk is None:
            return later
        try:
            blocks = read_samples(chunk)
            times, values = [self._times.of(one) for one in blocks], [one.values for one in blocks]
        except FormatError as problem:
            raise FormatError(f"{self._sealed.key} {metric}: {problem}") from None
        if later is not None:
            times.append(later.times)
            values.append(later.values)
        return self._joiner.join(times, values)


def moved(head: bytes, window: int, where: str) -> Work:
    """The fields that a raw window gets for the samples of `head`: to be added to those that it has."""
    sealer = Sealer(window)
    for table in read_tables(head, window, where):
        if table is not None:
            sealer.add_plain(table)
        yield
    return (yield from sealer.work())


def sealed(old: Sealed, head: bytes | None) -> Work:
    """The fields of a raw window that had those of `old` and gets the samples of `head`; for good."""
    added: dict[str, Column] = {}
    for table in read_tables(head or b"", old.window, f"{old.key}:sealing"):
        if table is not None:
            for metric, values in zip(table.metrics, table.values, strict=True):
                added[metric] = Column(table.times, values)
        yield
    before = _Samples(old)
    sealer = Sealer(old.window)
    for metric in dict.fromkeys([*old.metrics(), *added]):
        column = before.of(metric, added.get(metric))
        if column is not None:
            sealer.add(metric, column)
        yield
    return (yield from sealer.work())


def fed(target: Sealed, window: int, finer: Tier) -> bool:
    """Whether the window `target` of a coarser tier has `window` of `finer` already."""
    digits = target.fields.get(FED_FIELD, b"")
    return digits[(window - target.window) // finer.window :][:1] == b"1"


def rolled_up(old: Sealed, parts: list[Sealed], tier: Tier, finer: Tier) -> Work:
    """The fields of a window of `tier` that had those of `old` and gets all of the windows `parts` of `finer`.

    What it had of these is replaced.
    """
    renewed = {part.window for part in parts}
    source = _Aggregates(parts, tier) if finer.step else _RawParts(parts, tier, finer)
    found: dict[str, bytes] = {}
    for metric in dict.fromkeys([*old.metrics(), *(metric for part in parts for metric in part.metrics())]):
        rollups = source.of(metric)
        yield
        if metric in old.fields:
            before = split(_decoded(old, metric))
            kept = [one for one in before if finer.window_of(int(one.times[0])) not in renewed]
            new = [one for rollup in rollups for one in split(rollup)]
            rollups = sorted([*kept, *new], key=lambda one: int(one.times[0]))
        if rollups:
            found[metric] = encode_rollup(joined(rollups), tier.step, old.window)
        yield
    digits = bytearray(old.fields.get(FED_FIELD, b"0" * (tier.window // finer.window)))
    for window in renewed:
        digits[(window - old.window) // finer.window] = ord("1")
    return found | tagged_field(found) | {FED_FIELD: bytes(digits)}


def _decoded(sealed: Sealed, metric: str) -> Rollup:
    try:
        return decode_rollup(sealed.fields[metric], sealed.window)
    except FormatError as problem:
        raise FormatError(f"{sealed.key} {metric}: {problem}") from None


class _Aggregates:
    """What windows of aggregates give a window of longer steps."""

    def __init__(self, parts: list[Sealed], tier: Tier) -> None:
        self._parts = sorted(parts, key=lambda part: part.window)
        self._step = tier.step * MS

    def of(self, metric: str) -> list[Rollup]:
        """A rollup for each window that has it."""
        return [regrouped(_decoded(part, metric), self._step) for part in self._parts if metric in part.fields]


class _RawParts:
    """What windows of samples give a window of aggregates."""

    def __init__(self, parts: list[Sealed], tier: Tier, finer: Tier) -> None:
        self._parts = [_Samples(part) for part in sorted(parts, key=lambda part: part.window)]
        self._roller = Roller(tier.step * MS, part=finer.window * MS)
        self._joiner = Joiner()

    def of(self, metric: str) -> list[Rollup]:
        """One rollup, or none."""
        columns = [column for part in self._parts if (column := part.of(metric)) is not None]
        if not columns:
            return []
        column = self._joiner.join([one.times for one in columns], [one.values for one in columns])
        return [self._roller.of(column)]
