"""Rounds that wait to be confirmed, on disk: they outlive a kill of the agent and a restart of its machine.

SQLite keeps them, because what it promises is what a spool needs, and is tested far better than segment files of our
own would be: a round is there whole or not at all, however the process ends; room is given back in the middle of the
file; and the module is Python's own. Its write-ahead log takes a round without waiting for the disk. So a power cut may
cost the rounds that the system had not written yet (of the last 30 s or so on Linux); a kill costs none.

While the disk takes nothing, as it is full or cannot be written to, rounds are kept in memory, a bounded number of
them, and move to the disk once it takes them again.
"""

import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from perfmon.core.flight import Round
from perfmon.core.messages import Gap, Samples, body
from perfmon.core.schema import followed
from perfmon.services.spool_file import Row, SpoolFile

_T = TypeVar("_T")

# Once so many schemas are known, those that no round has are looked for: a host may make up new ones for ever.
_MANY_SCHEMAS = 100

# Rounds kept in memory while the disk takes none. At 10 s and 100 metrics: 11 hours and about 5 MB.
MAX_IN_MEMORY = 4_096

# A file that could not be opened is tried again so often.
_OPEN_AGAIN = 60.0  # s

# Of what is kept, so much is dropped at once when there is no room: to find room costs the same for many as for one.
_SHARE = 32

# Rounds looked at together when old ones are dropped.
_LOOKED_AT = 256


class Spool:
    """The spool of one host. Its calls block: they are for a thread of their own, one at a time."""

    def __init__(
        self,
        path: Path,
        max_size: int,
        max_age: float,
        tell: Callable[[str], None],
        wall: Callable[[], float],
    ) -> None:
        """At most `max_size` bytes in the file `path`, and no round older than `max_age` s.

        `tell` is called with sentences for the log; `wall` gives the time in s since the epoch.
        """
        self._path = path
        self._max_size = max_size
        self._max_age = max_age
        self._tell = tell
        self._wall = wall
        self._memory = SpoolFile()
        self._file: SpoolFile | None = None
        self._tried = 0.0  # when it was opened, or could not be
        self._problem: str | None = None  # why the disk takes nothing, None while it does
        self._names: list[str] = []
        self._schema = 0
        self._schemas: dict[int, bytes] = {}  # their metrics, in JSON
        self._looked_at = _MANY_SCHEMAS
        self._gaps: list[Gap] = []  # the first is told of; what comes after it gathers in one more
        self._told: int | None = None  # id of the gap that was handed out: it grows no more
        self.dropped = 0  # rounds, since the start
        self.last_key = 0  # the highest there was
        self.opened = 0  # how often a file was opened, with what was in it

    def open(self) -> None:
        """Opens the file, with what an earlier run has left in it."""
        self._open_file()

    def close(self) -> None:
        for each in self._places():
            each.close()

    @property
    def rounds(self) -> int:
        """How many are kept."""
        return sum(each.rounds for each in self._places())

    def put(self, time: float, values: Mapping[str, float], done: Collection[int], sent: Collection[int]) -> Round:
        """Keeps the round of `time` (s since the epoch), and forgets those with the keys `done`.

        Where there is no room the oldest go, though none with a key among `sent`: they are about to be confirmed.
        """
        if self._file is None and abs(self._wall() - self._tried) >= _OPEN_AGAIN:
            self._open_file()
        # By the time, so that those of a file that is found later have others.
        key = self.last_key = max(self.last_key + 1, round(time * 1000))
        self._declare(values, key)
        found = [values.get(name) for name in self._names]
        row = Row(key, time, self._schema, body(Samples(0, 0, time, found)))
        if self._memory.rounds and done:
            self._memory.change([], {}, done)
        if not self._put_in_file(row, done):
            self._memory.change([row], self._schemas, ())
        self._bound({*sent, key})
        return self._round(row)

    def page(self, after: int, most: int, done: Collection[int]) -> list[Round]:
        """At most `most` rounds with keys above `after`, the oldest first; those with the keys `done` are forgotten."""
        self.forget(done)
        rows = self._memory.oldest(after, most)
        rows += self._of_file(lambda file: file.oldest(after, most)) or []
        return [self._round(row) for row in sorted(rows)[:most]]

    def forget(self, done: Collection[int]) -> None:
        """Drops the rounds with the keys `done`, which are confirmed, and gives back their room."""
        if done:
            self._memory.change([], {}, done)
            self._of_file(lambda file: file.change([], {}, done))
            self._of_file(SpoolFile.give_back)

    # -- gaps

    @property
    def has_gap(self) -> bool:
        return bool(self._gaps)

    def gap(self) -> Gap | None:
        """What the collector is to be told next of rounds that had to go; it stays until it is `noted`."""
        if not self._gaps:
            return None
        self._told = self._gaps[0].id
        return self._gaps[0]

    def noted(self, gap: int) -> None:
        """The collector keeps it."""
        self._gaps = [one for one in self._gaps if one.id != gap]
        self._of_file(lambda file: file.keep_gaps(self._gaps))

    def _lose(self, rows: Collection[Row], reason: str) -> None:
        """These have gone without having been confirmed."""
        self.dropped += len(rows)
        rounds, times = len(rows), [row.time for row in rows]
        if self._gaps and self._gaps[-1].id != self._told:
            grown = self._gaps.pop()
            number, rounds, times = grown.id, rounds + grown.rounds, [*times, grown.start, grown.stop]
        else:
            # By the time, for those of an earlier run, which may be known to the collector, are to have others.
            number = max([round(self._wall() * 1000), *(one.id + 1 for one in self._gaps)])
        self._gaps.append(Gap(number, rounds, min(times), max(times), reason))
        self._of_file(lambda file: file.keep_gaps(self._gaps))

    # -- rounds

    def _round(self, row: Row) -> Round:
        return Round(row.key, row.schema, self._schemas[row.schema], row.body)

    def _declare(self, values: Mapping[str, float], key: int) -> None:
        """Sees to a schema that has all of `values`."""
        names = followed(self._names, values)
        if names is not self._names:
            self._names, self._schema = names, key
            self._schemas[key] = msgspec.json.encode(names)
            if len(self._schemas) > self._looked_at:
                self._drop_schemas()
                self._looked_at = 2 * len(self._schemas) + _MANY_SCHEMAS

    def _drop_schemas(self) -> None:
        """Forgets those that no round has."""
        used = {self._schema}
        for place in self._places():
            found = self._guarded(place, lambda it: it.keep_schemas(self._schema))
            if found is None:
                return  # it has some, and nobody knows which
            used |= found
        self._schemas = {schema: names for schema, names in self._schemas.items() if schema in used}

    def _put_in_file(self, row: Row, done: Collection[int]) -> bool:
        """Whether the file has it, with all that had to be kept in memory so far."""
        if self._file is None:
            return False
        rows = [*self._memory.oldest(0, MAX_IN_MEMORY), row] if self._memory.rounds else [row]
        before = self._problem
        if self._of_file(lambda file: file.change(rows, self._schemas, done)) is None:
            return False
        if len(rows) > 1:
            self._memory.change([], {}, [each.key for each in rows])
        if before is not None:
            self._tell(f"the spool {self._path} takes rounds again")
            self._problem = None
        return True

    def _bound(self, sent: Collection[int]) -> None:
        """Drops the oldest rounds beyond the bounds."""
        self._drop_old(sent)
        if self._memory.rounds > MAX_IN_MEMORY:
            self._drop_oldest(self._memory, sent, f"the disk took none, and memory has room for {MAX_IN_MEMORY}")
        file = self._file
        while file is not None and (self._guarded(file, lambda it: it.used) or 0) > self._max_size:
            if not self._drop_oldest(file, sent, f"--spool-size {self._max_size} bytes is full"):
                break

    def _drop_oldest(self, place: SpoolFile, sent: Collection[int], reason: str) -> bool:
        """Drops a share; returns whether there was any that could go."""
        return self._drop(place, self._guarded(place, lambda it: it.oldest(0, 1 + it.rounds // _SHARE)), sent, reason)

    def _drop_old(self, sent: Collection[int]) -> None:
        oldest_allowed = self._wall() - self._max_age
        for place in self._places():
            more = True
            while more:
                rows = self._guarded(place, lambda it: it.oldest(0, _LOOKED_AT)) or []
                old = [row for row in rows if row.time < oldest_allowed]
                more = self._drop(place, old, sent, f"older than --spool-age {self._max_age:g} s")

    def _drop(self, place: SpoolFile, rows: Collection[Row] | None, sent: Collection[int], reason: str) -> bool:
        gone = [row for row in rows or () if row.key not in sent]
        if not gone or self._guarded(place, lambda it: it.change([], {}, [row.key for row in gone])) is None:
            return False
        self._lose(gone, reason)
        return True

    # -- the file

    def _places(self) -> list[SpoolFile]:
        return [self._memory] if self._file is None else [self._memory, self._file]

    def _guarded(self, place: SpoolFile, call: Callable[[SpoolFile], _T]) -> _T | None:
        if place is self._memory:
            return call(place)
        return self._of_file(call) if place is self._file else None  # it may have been put aside meanwhile

    def _of_file(self, call: Callable[[SpoolFile], _T]) -> _T | None:
        """What `call` makes of the file; None without one, and where it takes nothing."""
        if self._file is None:
            return None
        try:
            return call(self._file)
        except sqlite3.OperationalError as problem:
            self._fault(problem)
        except sqlite3.DatabaseError as problem:
            self._file.close()
            self._file = None
            self._put_aside(problem)
            self._open_file()
        return None

    def _fault(self, problem: Exception) -> None:
        if str(problem) != self._problem:
            self._problem = str(problem)
            self._tell(
                f"the spool {self._path} takes nothing ({problem}): rounds wait in memory, up to {MAX_IN_MEMORY} of "
                "them; free the disk, or give another folder with --spool"
            )

    def _open_file(self) -> None:
        """Opens the file if that can be; one that is broken is put aside first."""
        self._tried = self._wall()
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._take_up(SpoolFile(self._path))
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as problem:
                self._put_aside(problem)
                self._take_up(SpoolFile(self._path))
        except (sqlite3.Error, OSError) as problem:
            self._fault(problem)

    def _take_up(self, file: SpoolFile) -> None:
        """From now on `file` is the spool's."""
        self._schemas |= file.schemas()
        self._gaps = file.gaps() + self._gaps
        self.last_key = max(self.last_key, file.last_key)
        self.opened += 1
        self._file = file

    def _put_aside(self, problem: Exception) -> None:
        """Makes room for a new file; the broken one is kept for whoever wants to look at it."""
        aside = self._path.with_name(f"{self._path.name}.broken")
        try:
            self._path.with_name(f"{self._path.name}-wal").unlink(missing_ok=True)
            self._path.replace(aside)
        except OSError as other:
            problem = other
        self._tell(f"the spool {self._path} cannot be read ({problem}); it is put aside as {aside}, a new one is made")
