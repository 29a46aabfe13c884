"""One connection to a Redis or Valkey on a unix socket, without the reactor.

Imported by the others, not run by itself.
"""

import socket
from typing import Any

import hiredis


class StoreClient:
    """Asks, and waits for the replies."""

    def __init__(self, path: str) -> None:
        """Raises OSError where nothing listens."""
        self._reader = hiredis.Reader()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def __call__(self, *command: bytes | str | int | float) -> Any:
        """The reply to one command."""
        (reply,) = self.all([command])
        return reply

    def all(self, commands: list[tuple[bytes | str | int | float, ...]]) -> list[Any]:
        """The replies to commands that are sent at once. Raises what the server says against one."""
        packed = [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]  # its stub: one word
        self._socket.sendall(b"".join(packed))
        replies: list[Any] = []
        while len(replies) < len(commands):
            if (reply := self._reader.gets()) is False:
                self._reader.feed(self._socket.recv(1 << 20))
            elif isinstance(reply, Exception):
                raise reply
            else:
                replies.append(reply)
        return replies

    def close(self) -> None:
        self._socket.close()
