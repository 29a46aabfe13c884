"""What people have noted of a verdict on a machine: who owns it, and until when they want to hear no more of it."""

from dataclasses import dataclass

import msgspec

MAX_NOTE = 500  # characters


@dataclass(frozen=True, slots=True)
class Note:
    """Of one host."""

    text: str = ""
    dismissed: float | None = None  # s since the epoch, until when; None: it is not

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Note":
        """What `encode` gave."""
        return msgspec.json.decode(text, type=cls)

    def is_dismissed(self, now: float) -> bool:
        return self.dismissed is not None and now < self.dismissed


NO_NOTE = Note()
