"""The collector's own host: sampled in its process, stored like any other."""

import struct
from collections.abc import Mapping, Sequence

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from perfmon.core.messages import Hello
from perfmon.core.numbering import Row
from perfmon.core.schema import followed
from perfmon.net.seams import Controlled, ControlSeam, Intake, PresenceSeam

_NAN = float("nan")


class Rounds:
    """Sampling rounds of one kind, stored under the name of a host."""

    def __init__(self, host: str, intake: Intake) -> None:
        self._host = host
        self._intake = intake
        self._names: list[str] = []

    def take(self, time: float, values: Mapping[str, float]) -> None:
        """Stores one round of `time` (s since the epoch), unless too much waits to be stored already."""
        if self._intake.paused:
            return
        self._names = followed(self._names, values)
        log, first = self._intake.numbering.schema(self._host, self._names)
        packed = struct.pack(f"<{len(self._names)}d", *[values.get(name, _NAN) for name in self._names])
        absent = len(self._names) - len(values)
        self._intake.add_row(Row(log, first, round(time * 1000), packed, absent))


class OwnHost(Service):
    """A service: the host is up while it runs, and is controlled like an agent. What it measures goes to `Rounds`."""

    def __init__(
        self,
        hello: Hello,
        heartbeat: float,
        presence: PresenceSeam,
        control: ControlSeam,
        sampling: Sequence[Controlled],
        clock: IReactorTime,
    ) -> None:
        """`hello` is what an agent would say of this host; `heartbeat` is the interval (s) of its signs of life."""
        self._hello = hello
        self._heartbeat = heartbeat
        self._presence = presence
        self._control = control
        self._sampling = sampling
        self._stopped = False
        self._interval = hello.interval
        self._beats = LoopingCall(lambda: presence.sign(hello.host))
        self._beats.clock = clock

    def startService(self) -> None:
        super().startService()
        self.introduce()
        self._control.arrived(self._hello.host, self, self._stopped, self._interval)
        self._beats.start(self._heartbeat, now=False)

    def introduce(self) -> None:
        """Says what an agent would say of this host."""
        self._presence.arrived(self._hello.host, self._hello.boot)
        self._presence.describe(self._hello.host, self._hello.record())

    def stopService(self) -> None:
        super().stopService()
        self._beats.stop()
        self._control.gone(self._hello.host, self)
        self._presence.leave(self._hello.host, "stopped")

    def order_stopped(self, stopped: bool) -> None:
        self._stopped = stopped
        for each in self._sampling:
            each.order_stopped(stopped)
        self._control.said(self._hello.host, self._stopped, self._interval)

    def order_interval(self, interval: float) -> None:
        self._interval = interval
        for each in self._sampling:
            each.order_interval(interval)
        self._control.said(self._hello.host, self._stopped, self._interval)
