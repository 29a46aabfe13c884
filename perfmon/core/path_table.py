"""A dictionary from paths to numbers in which a thousand are looked up at once, without any of them being an object.

Paths of the same number of 8-byte words share a table. Each has three places in it where it may stand, told by a hash
that a sender cannot foresee; the few that find all of theirs taken, and very long ones, stand in a dict. What is found
by its hash is compared whole.
"""

from collections.abc import Callable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from perfmon.core.words import MAX_STRETCH, Places, Text, Words

Series = NDArray[np.int64]

New = Callable[[Sequence[bytes]], Sequence[int]]

_MAX_WORDS = MAX_STRETCH // 8

# Places for each path, at the least: of a thousand, a few then find all of theirs taken.
_ROOM = 4

# Bits of the hash that the first, second and third place begin at.
_CHOICES = (0, 21, 42)

_FIRST_SLOTS = 256

# Paths that are remembered for `find_few`, at some 110 bytes each.
_RECENT = 50_000

_UNKNOWN = -2

# Masks for the first so many bytes, 0 to 8, of a word.
_HEADS = np.array([(1 << 8 * kept) - 1 for kept in range(9)], np.uint64)

# Odd numbers that differ in each process, as the hash of a str does.
_SECRETS = np.array([hash(f"path word {number}") | 1 for number in range(_MAX_WORDS + 1)], np.int64).view(np.uint64)


class PathTable:
    """Paths (bytes that are no white space nor control characters) to numbers."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}  # by words
        self._others: dict[bytes, int] = {}
        self._recent: dict[bytes, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, text: Text, starts: Places, ends: Places, new: New) -> Series:
        """The numbers of the paths that stand at starts..ends in `text`.

        `new` gives those of paths that are not known yet, each once, in the order of the text; one below 0 is none, and
        is not kept.
        """
        words = np.minimum((ends - starts + 7) >> 3, _MAX_WORDS + 1)
        kinds = np.flatnonzero(np.bincount(words)).tolist()
        if len(kinds) == 1:
            found = self._known(kinds[0], text, starts, ends)
        else:
            found = np.empty(len(starts), np.int64)
            for kind in kinds:
                same = np.flatnonzero(words == kind)
                found[same] = self._known(kind, text, starts[same], ends[same])
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            found[unknown] = self._others_or_new(text, starts[unknown], ends[unknown], words[unknown], new)
        return found

    def find_few(self, paths: Sequence[bytes], new: New) -> list[int]:
        """The same for some paths that stand in no text, faster for a few of them that come this way again."""
        recent = self._recent
        found = list(map(recent.get, paths, repeat(_UNKNOWN)))
        if _UNKNOWN in found:
            missing = list(dict.fromkeys(path for path, number in zip(paths, found, strict=True) if number == _UNKNOWN))
            ends = np.cumsum([len(path) for path in missing], dtype=np.int64)
            starts = np.concatenate((ends[:1] * 0, ends[:-1]))
            numbers = dict(zip(missing, self.find(Text(b"".join(missing)), starts, ends, new).tolist(), strict=True))
            found = [numbers.get(path, number) for path, number in zip(paths, found, strict=True)]
            if len(recent) > _RECENT:
                recent.clear()
            recent |= {path: number for path, number in numbers.items() if number >= 0}
        return found

    def _known(self, words: int, text: Text, starts: Places, ends: Places) -> Series:
        """Those that stand in the table for paths of so many words."""
        table = self._tables.get(words)
        return np.full(len(starts), -1) if table is None else table.find(_rows(words, text, starts, ends))

    def _others_or_new(self, text: Text, starts: Places, ends: Places, words: Places, new: New) -> Sequence[int]:
        """Of paths that stand in no table."""
        data, others = text.data, self._others
        paths = [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        asked = [path for path in dict.fromkeys(paths) if path not in others]
        given = new(asked)
        if len(asked) == len(paths) and min(given) >= 0:  # as of a host that is new
            self._add(text, starts, ends, words, asked, given)
            return given
        numbers = dict(zip(asked, given, strict=True))
        made = [path for path, number in numbers.items() if number >= 0]
        if made:
            first = dict(zip(reversed(paths), range(len(paths) - 1, -1, -1), strict=True))
            places = [first[path] for path in made]
            self._add(text, starts[places], ends[places], words[places], made, [numbers[path] for path in made])
        return [numbers[path] if path in numbers else others[path] for path in paths]

    def _add(
        self, text: Text, starts: Places, ends: Places, words: Places, paths: Sequence[bytes], given: Sequence[int]
    ) -> None:
        self._count += len(paths)
        numbers = np.array(given, np.int64)
        for kind in np.flatnonzero(np.bincount(words)).tolist():
            if kind > _MAX_WORDS:
                pairs = zip(paths, given, strict=True)
                self._others |= {path: number for path, number in pairs if len(path) > MAX_STRETCH}
                continue
            same = np.flatnonzero(words == kind)
            table = self._tables.setdefault(kind, _Table(kind))
            self._others |= table.add(_rows(kind, text, starts[same], ends[same]), numbers[same])


def _rows(words: int, text: Text, starts: Places, ends: Places) -> Words:
    """Paths of so many words as rows, with zeros behind."""
    rows = text.after(starts, words)
    rows[:, -1] &= _HEADS.take(ends - starts - 8 * (words - 1))
    return rows


class _Table:
    """Rows of words to numbers. Entry 0 is none: no path is all zeros."""

    def __init__(self, words: int) -> None:
        self._count = 1
        self._rows: Words = np.zeros((_FIRST_SLOTS // _ROOM, words), np.uint64)
        self._hashes: Words = np.zeros(len(self._rows), np.uint64)
        self._numbers: Series = np.full(len(self._rows), -1)
        self._slots = np.zeros(_FIRST_SLOTS, np.int32)  # entry that stands there

    def find(self, rows: Words) -> Series:
        """The numbers of `rows`, -1 for those unknown."""
        hashes = _hashes(rows)
        entries = self._slots.take(self._place(hashes, 0))
        missing = np.flatnonzero(self._hashes.take(entries) != hashes)
        for choice in _CHOICES[1:]:
            if not len(missing):
                break
            sought = hashes[missing]
            found = self._slots.take(self._place(sought, choice))
            entries[missing] = found
            missing = missing[self._hashes.take(found) != sought]
        entries[missing] = 0
        same = self._rows.take(entries, axis=0) == rows
        same[missing] = True
        if not same.all():  # another path has the same hash
            entries[~same.all(axis=1)] = 0
        return self._numbers.take(entries)

    def add(self, rows: Words, numbers: Series) -> dict[bytes, int]:
        """Adds `rows`, all unknown; returns those that cannot be found here, be they of these or of those before."""
        first, end = self._count, self._count + len(rows)
        if end * _ROOM > len(self._slots):
            self._grow(end)
            first = 1  # all are to be put
        self._rows[self._count : end], self._numbers[self._count : end] = rows, numbers
        self._hashes[self._count : end] = _hashes(rows)
        self._count = end
        unplaced = np.arange(first, end, dtype=np.int32)
        for choice in _CHOICES:
            slots = self._place(self._hashes.take(unplaced), choice)
            free = self._slots.take(slots) == 0
            self._slots[slots[free]] = unplaced[free]
            unplaced = unplaced[self._slots.take(slots) != unplaced]
        # no place was left, or it stands behind one with the same hash
        lost = np.flatnonzero(self.find(self._rows[first:end]) != self._numbers[first:end]) + first
        return {self._rows[entry].tobytes().rstrip(b"\0"): int(self._numbers[entry]) for entry in lost.tolist()}

    def _grow(self, count: int) -> None:
        """Makes room for `count` entries, and as many again; none of them has a slot any more."""
        slots = 1 << (2 * count * _ROOM - 1).bit_length()
        room = slots // _ROOM - len(self._rows)
        self._rows = np.concatenate((self._rows, np.zeros((room, self._rows.shape[1]), np.uint64)))
        self._hashes = np.concatenate((self._hashes, np.zeros(room, np.uint64)))
        self._numbers = np.concatenate((self._numbers, np.zeros(room, np.int64)))
        self._slots = np.zeros(slots, np.int32)

    def _place(self, hashes: Words, choice: int) -> NDArray[np.int64]:
        return (hashes >> choice & len(self._slots) - 1).view(np.int64)


def _hashes(rows: Words) -> Words:
    mixed: Words = rows[:, 0] * _SECRETS[0]
    for place in range(1, rows.shape[1]):
        mixed ^= mixed >> 32
        mixed += rows[:, place]
        mixed *= _SECRETS[place]
    mixed ^= mixed >> 32
    mixed *= _SECRETS[-1]
    mixed ^= mixed >> 32
    return mixed
