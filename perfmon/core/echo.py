"""The echo benchmark's protocol, without I/O: messages one way, their SHA-1 the other.

Who sends begins with a line, ``perfmon-echo RUN SIZE SENDER``; then come messages of SIZE bytes, one behind the other.
Each is answered with the 20 bytes of its SHA-1, in order.
"""

import hmac
from collections import deque
from collections.abc import Callable
from hashlib import sha1

from perfmon.core.latencies import Latencies
from perfmon.core.loads import MAX_MESSAGE

DIGEST = 20  # bytes

_WORD = "perfmon-echo"
_MAX_GREETING = 1_024  # bytes


class BadGreeting(Exception):
    """Who connected does not send what it should; `str()` says what."""


def greeting(run: str, size: int, sender: str) -> bytes:
    """The first line, of a host that sends messages of `size` bytes in this run."""
    return f"{_WORD} {run} {size} {sender}\n".encode()


class Answering:
    """The end that answers, of one connection."""

    def __init__(self, run: str) -> None:
        """Whoever does not name this run is not answered."""
        self._run = run
        self._before = b""  # what has come of the greeting
        self._size = 0  # 0 until it has come
        self._left = 0  # bytes of the message that is coming in
        self._hash = sha1(usedforsecurity=False)

    def feed(self, data: bytes) -> bytes:
        """The answers to what `data` completes. Raises `BadGreeting`."""
        if not self._size:
            self._before, end, data = (self._before + data).partition(b"\n")
            if len(self._before) > _MAX_GREETING:
                raise BadGreeting("no greeting")
            if not end:
                return b""
            self._greet(self._before)
        view, answers = memoryview(data), []
        while view:
            piece, view = view[: self._left], view[self._left :]
            self._hash.update(piece)
            self._left -= len(piece)
            if not self._left:
                answers.append(self._hash.digest())
                self._next()
        return b"".join(answers)

    def _greet(self, line: bytes) -> None:
        words = line.split(b" ", 3)
        if len(words) < 4 or words[0] != _WORD.encode() or not hmac.compare_digest(words[1], self._run.encode()):
            raise BadGreeting("a greeting for another run")
        size = int(words[2]) if words[2].isdigit() and len(words[2]) < 12 else 0
        if not 0 < size <= MAX_MESSAGE:
            raise BadGreeting(f"messages of {words[2][:20]!r} bytes")
        self._size = size
        self._next()

    def _next(self) -> None:
        self._left = self._size
        self._hash = sha1(usedforsecurity=False)


class Asking:
    """The end that sends and checks, of one connection."""

    def __init__(self, size: int, block: bytes) -> None:
        """Messages have `size` bytes: a number, and a piece of `block`, which is as long at least."""
        self._size = size
        self._block = block
        self._awaited: deque[tuple[float, bytes]] = deque()  # time of sending, and what is to be answered
        self._rest = b""
        self.latencies = Latencies()
        self.sent = self.answered = self.mismatches = 0
        self.longest = 0.0  # s

    def message(self, clock: Callable[[], float]) -> bytes:
        """The next message, which is sent at the time that `clock` (s) then gives."""
        number = self.sent.to_bytes(8, "big")
        message = number + self._block[: self._size - len(number)]
        expected = sha1(message, usedforsecurity=False).digest()
        self._awaited.append((clock(), expected))
        self.sent += 1
        return message

    def feed(self, data: bytes, now: float) -> None:
        """Checks the answers that `data` completes, come at `now`. One that was not asked for is a mismatch, too."""
        self._rest += data
        while len(self._rest) >= DIGEST:
            digest, self._rest = self._rest[:DIGEST], self._rest[DIGEST:]
            if not self._awaited:
                self.mismatches += 1
                continue
            sent, expected = self._awaited.popleft()
            self.answered += 1
            self.mismatches += digest != expected
            self.latencies.add(now - sent)
            self.longest = max(self.longest, now - sent)

    @property
    def awaited(self) -> int:
        """How many messages have no answer yet."""
        return len(self._awaited)
