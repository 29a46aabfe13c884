"""Small stand-ins for what services talk to, where the store itself is not what is tested."""

from twisted.internet.defer import Deferred

from perfmon.core.head_reader import read_head
from perfmon.core.heads import HeadWrite
from tests.memory_heads import MemoryHeads


class ControlledAppends(MemoryHeads):
    """The store's appends, each of which is answered when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[HeadWrite]] = []  # every append so far
        self._answer: Deferred[list[bytes]] | None = None

    async def append(self, writes: list[HeadWrite]) -> list[bytes]:
        assert self._answer is None, "two appends at once"
        self.asked.append(writes)
        self._answer = Deferred()
        return await self._answer

    @property
    def waiting(self) -> bool:
        """Whether an append is under way."""
        return self._answer is not None

    def confirm(self) -> None:
        """The append under way is done."""
        self.answer(self.done())

    def done(self) -> list[bytes]:
        """The append under way is done, but nobody is told."""
        return self.write(self.asked[-1])

    def answer(self, identities: list[bytes]) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.callback(identities)

    def fail(self, problem: Exception) -> None:
        """The append under way fails; nothing of it is done."""
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.errback(problem)

    def samples(self) -> list[tuple[str, str, float, float]]:
        """(host, metric, time in s, value) of everything in the heads, as it is read."""
        return sorted(
            (name.host, metric, time / 1000, value)
            for name, head in self.heads.items()
            for metric, column in read_head(head, name.window, str(name)).items()
            for time, value in zip(column.times.tolist(), column.values.tolist(), strict=True)
        )


class RecordingSource:
    """Notes when it is paused and resumed."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.bounds = 0  # how often it was bound anew

    def pause(self) -> None:
        self.heard.append("pause")

    def bound(self) -> None:
        self.bounds += 1

    def resume(self) -> None:
        self.heard.append("resume")


class RecordingSender:
    """Notes what was stored."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def stored(self, seq: int) -> None:
        self.seqs.append(seq)
