"""Benchmark runs in the store."""

from collections.abc import Sequence

from perfmon.core.benchmarks import CANCELLED, SPEC, host_field
from perfmon.storage import keys, scripts
from perfmon.storage.connection import Connection


class RunKeys:
    """What a store keeps of runs. All may raise `StoreUnavailable`."""

    def __init__(self, writer: Connection, reader: Connection) -> None:
        self._writer = writer
        self._reader = reader

    async def add_run(self, id: str, spec: str, created: float, due: float, ttl: float) -> None:
        """Keeps a new run for `ttl` s; it is open until it is closed. Times are in s since the epoch."""
        await self._writer.call("HSET", keys.run(id), SPEC, spec)
        await self._writer.call("EXPIRE", keys.run(id), round(ttl))
        for key, score in ((keys.RUNS, created), (keys.OPEN_RUNS, due)):
            await self._writer.call("ZADD", key, repr(score), id)
            await self._writer.call("EXPIRE", key, round(ttl))
        await self._writer.call("ZREMRANGEBYSCORE", keys.RUNS, "-inf", repr(created - ttl))

    async def open_runs(self) -> dict[str, float]:
        """Ids of the runs that are not over, and when they have to be."""
        flat = await self._reader.call("ZRANGE", keys.OPEN_RUNS, 0, -1, "WITHSCORES")
        return {id.decode(): float(due) for id, due in zip(flat[0::2], flat[1::2], strict=True)}

    async def run(self, id: str) -> dict[str, str]:
        """The fields of a run, none where there is none."""
        return _fields(await self._reader.call("HGETALL", keys.run(id)))

    async def runs(self, limit: int) -> list[dict[str, str]]:
        """The fields of the newest runs, the newest first."""
        ids = await self._reader.call("ZREVRANGE", keys.RUNS, 0, limit - 1)
        return [await self.run(id.decode()) for id in ids]

    async def note_run(self, id: str, host: str, value: str) -> None:
        """How a run is on a host; once it has ended there that does not change any more."""
        await self._writer.call("EVAL", scripts.NOTE_RUN, 1, keys.run(id), host_field(host), value)

    async def cancel_run(self, id: str, reason: str, due: float) -> None:
        """A run is to end, and by `due` it has."""
        await self._writer.call("HSETNX", keys.run(id), CANCELLED, reason)
        await self._writer.call("ZADD", keys.OPEN_RUNS, "XX", repr(due), id)

    async def start_run(self, id: str, before: str, spec: str, due: float) -> bool:
        """What was asked for by a run, as it was `before`, has its start now; False where another has done that."""
        wanted = (scripts.START_RUN, 2, keys.run(id), keys.OPEN_RUNS, id, before, spec, repr(due))
        return bool(await self._writer.call("EVAL", *wanted))

    async def keep_output(self, id: str, host: str, output: str, ttl: float) -> None:
        """Keeps what the program has written that was run on a host, for `ttl` s."""
        await self._writer.call("HSET", keys.run_output(id), host, output)
        await self._writer.call("EXPIRE", keys.run_output(id), round(ttl))

    async def output(self, id: str, host: str) -> str | None:
        """None where nothing is kept."""
        found = await self._reader.call("HGET", keys.run_output(id), host)
        return None if found is None else found.decode()

    async def close_run(self, id: str) -> None:
        """A run is over."""
        await self._writer.call("ZREM", keys.OPEN_RUNS, id)


def _fields(flat: Sequence[bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in zip(flat[0::2], flat[1::2], strict=True)}
