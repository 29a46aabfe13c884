"""Waiting in the reactor for what must come, instead of sleeping and hoping."""

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.task import deferLater

_T = TypeVar("_T")

# Far more than anything here takes, also on a machine that is busy with something else.
PATIENCE = 30.0  # s

_POLL = 0.005  # s between two looks at a condition


async def until(condition: Callable[[], _T], what: str) -> _T:
    """The first true value of `condition`; fails after `PATIENCE` s, naming `what` was waited for."""
    from twisted.internet import reactor

    deadline = reactor.seconds() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        if reactor.seconds() > deadline:
            raise AssertionError(f"waited {PATIENCE} s for {what}; last: {found!r}")
        await deferLater(reactor, _POLL)
