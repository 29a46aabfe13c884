"""Notes on hosts in the store."""

from perfmon.core.notes import NO_NOTE, Note
from perfmon.storage import keys
from perfmon.storage.connection import Connection


class NoteKeys:
    """What a store keeps of notes. All may raise `StoreUnavailable`."""

    def __init__(self, writer: Connection, reader: Connection, ttl: int) -> None:
        """They are kept for `ttl` s after they were written last, or read."""
        self._writer = writer
        self._reader = reader
        self._ttl = ttl

    async def all(self) -> dict[str, Note]:
        """The notes by host."""
        flat = await self._reader.call("HGETALL", keys.NOTES)
        await self._writer.call("EXPIRE", keys.NOTES, self._ttl)
        return {host.decode(): Note.decode(text.decode()) for host, text in zip(flat[0::2], flat[1::2], strict=True)}

    async def put(self, host: str, note: Note) -> None:
        """Keeps the note on `host` in place of the one before; an empty one is none."""
        if note == NO_NOTE:
            await self._writer.call("HDEL", keys.NOTES, host)
            return
        await self._writer.call("HSET", keys.NOTES, host, note.encode())
        await self._writer.call("EXPIRE", keys.NOTES, self._ttl)
