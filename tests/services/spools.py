"""Spools in a folder of the test's own, called at once and not in a thread."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.outbox import Outbox
from perfmon.services.spool import Spool

NOW = 1_800_000_000.0


def folder(case: SynchronousTestCase) -> Path:
    """One that goes with the test."""
    path = Path(tempfile.mkdtemp(prefix="pm-"))
    case.addCleanup(shutil.rmtree, path)
    return path


def at_once(call: Callable[[], Any]) -> Deferred[Any]:
    return maybeDeferred(call)


def make_outbox(case: SynchronousTestCase, clock: IReactorTime, max_size: int = 64 << 20) -> Outbox:
    """One that runs until the end of the test."""
    spool = Spool(folder(case) / "web1.spool", max_size, 86_400.0, lambda text: None, lambda: NOW)
    outbox = Outbox(spool, at_once, clock)
    outbox.startService()
    case.addCleanup(outbox.stopService)
    return outbox
