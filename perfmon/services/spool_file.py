"""One SQLite database of rounds: the file of a spool, or what stands in for it in memory."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from perfmon.core.messages import Gap

# Pages (of 4 KiB) of the write-ahead log, about; and free ones in the file that are not worth to be given back.
_WAL_PAGES, _FREE_PAGES = 128, 256

# Of the tables.
_FORMAT = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS rounds (key INTEGER PRIMARY KEY, time REAL, schema INTEGER, body BLOB);
CREATE TABLE IF NOT EXISTS schemas (id INTEGER PRIMARY KEY, names BLOB);
CREATE TABLE IF NOT EXISTS gaps (id INTEGER PRIMARY KEY, rounds INTEGER, start REAL, stop REAL, reason TEXT);
"""


class Row(NamedTuple):
    """A round as it is kept."""

    key: int  # rises with the order of sampling
    time: float  # s since the epoch
    schema: int
    body: bytes  # of its line, what follows seq and id


class SpoolFile:
    """A database of this process alone. Every change is done whole or not at all; all calls may raise sqlite3.Error.

    A file that is no such database, or that has been damaged, raises sqlite3.DatabaseError and not one of its kinds.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Opens the file `path`, or a database in memory without one. May raise OSError too."""
        if path is not None:
            path.touch(mode=0o600)
        self._database = sqlite3.connect(
            ":memory:" if path is None else path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            if path is not None:
                self._prepare()
            self._database.executescript(_TABLES)
            self._database.execute("DELETE FROM schemas WHERE id NOT IN (SELECT schema FROM rounds)")
            self._known = {schema for (schema,) in self._database.execute("SELECT id FROM schemas")}
            rounds, last = self._database.execute("SELECT count(*), ifnull(max(key), 0) FROM rounds").fetchone()
        except BaseException:
            self._database.close()
            raise
        self.rounds: int = rounds
        self.last_key: int = last

    def _prepare(self) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode=EXCLUSIVE")  # another agent with the same file is told, and spoils nothing
        run("PRAGMA auto_vacuum=INCREMENTAL")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        run(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
        run(f"PRAGMA journal_size_limit={_WAL_PAGES * 4096}")
        (found,) = run("PRAGMA user_version").fetchone()
        if found not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"it has format {found}, not {_FORMAT}")
        run(f"PRAGMA user_version={_FORMAT}")

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite has ended it by itself after some errors
                self._database.execute("ROLLBACK")
            raise

    def change(self, add: Collection[Row], schemas: Mapping[int, bytes], drop: Iterable[int]) -> int:
        """Keeps `add`, with their `schemas`, and drops those with the keys `drop`; returns how many there are then."""
        new = {row.schema for row in add} - self._known
        with self._change():
            dropped = self._database.executemany("DELETE FROM rounds WHERE key = ?", [(key,) for key in drop]).rowcount
            self._database.executemany(
                "INSERT INTO schemas VALUES (?, ?)", [(schema, schemas[schema]) for schema in new]
            )
            self._database.executemany("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?)", add)
        self._known |= new
        self.rounds += len(add) - max(dropped, 0)
        self.last_key = max(self.last_key, *(row.key for row in add), 0)
        return self.rounds

    def oldest(self, after: int, most: int) -> list[Row]:
        """At most `most` rounds with keys above `after`, the oldest first."""
        rows = self._database.execute("SELECT * FROM rounds WHERE key > ? ORDER BY key LIMIT ?", (after, most))
        return [Row(*row) for row in rows]

    def schemas(self) -> dict[int, bytes]:
        """Of all rounds: the metrics of each, in JSON."""
        return dict(self._database.execute("SELECT id, names FROM schemas").fetchall())

    def keep_schemas(self, current: int) -> set[int]:
        """Drops those that no round has, but for `current`; returns which are left. It reads every round."""
        used = {schema for (schema,) in self._database.execute("SELECT DISTINCT schema FROM rounds")}
        with self._change():
            unused = [(schema,) for schema in self._known - used - {current}]
            self._database.executemany("DELETE FROM schemas WHERE id = ?", unused)
        self._known &= used | {current}
        return used

    def gaps(self) -> list[Gap]:
        return [Gap(*row) for row in self._database.execute("SELECT * FROM gaps ORDER BY id")]

    def keep_gaps(self, gaps: Iterable[Gap]) -> None:
        """These, and no others."""
        rows = [(gap.id, gap.rounds, gap.start, gap.stop, gap.reason) for gap in gaps]
        with self._change():
            self._database.execute("DELETE FROM gaps")
            self._database.executemany("INSERT INTO gaps VALUES (?, ?, ?, ?, ?)", rows)

    @property
    def used(self) -> int:
        """Bytes of the pages that hold something."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def give_back(self) -> None:
        """Shortens the file by some of what is free in it."""
        if self._pragma("freelist_count") > _FREE_PAGES:
            # execute() would stop after the first page, as nothing is returned
            self._database.executescript(f"PRAGMA incremental_vacuum({_FREE_PAGES})")

    def _pragma(self, name: str) -> int:
        number: int = self._database.execute(f"PRAGMA {name}").fetchone()[0]
        return number
