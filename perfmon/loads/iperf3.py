"""Tests of a network by iperf3, where it is installed: one after the other, when the collector has planned it.

https://software.es.net/iperf/invoking.html tells what its parameters are. Only those of `perfmon.core.loads.Iperf3` can
be given; it is started without a shell. Each host has a server, for one client at a time.
"""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from perfmon.core.loads import Iperf3
from perfmon.core.messages import Figures, Peer
from perfmon.core.pairs import PAUSE
from perfmon.loads.running import MAX_OUTPUT, PROGRESS, Clock, Outcome, Refused, rate_figures

# A port that was free may be taken when the server comes to it.
_TRIES = 3

# Why there is no result may be a page of text.
_MAX_PROBLEM = 200


class Iperf3Running:
    """The load on this machine."""

    def __init__(self, load: Iperf3, duration: float, listen: tuple[str, int], clock: Clock) -> None:
        """All tests of all hosts take `duration` s; its server is at `listen` (address, port; 0: any)."""
        self._load = load
        self._duration = duration
        self._listen = listen
        self._clock = clock
        self._program = ""
        self._server: subprocess.Popen[str] | None = None
        self._client: subprocess.Popen[str] | None = None
        self._peers: Sequence[Peer] = ()
        self._told: dict[str, Any] = {}  # peer -> what iperf3 has written

    def prepare(self) -> Figures:
        program = shutil.which("iperf3")
        if program is None:
            raise Refused("iperf3 is not installed on this machine")
        self._program = program
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        return {"program": shown.partition(" (")[0], "port": self._serve()}

    def _serve(self) -> int:
        """Starts the server; its port."""
        address, wanted = self._listen
        for _ in range(_TRIES):
            port = wanted or _free_port(address)
            command = [self._program, "--server", f"--bind={address}", f"--port={port}", "--forceflush"]
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert self._server.stdout is not None
            said = ""
            for line in self._server.stdout:
                if "listening" in line:
                    threading.Thread(target=self._server.stdout.read, daemon=True).start()  # or it would block
                    return port
                said = said or line.strip()  # the first one says why, the last one that it ends
        raise OSError(f"iperf3's server does not start: {said[:_MAX_PROBLEM]}")

    def meet(self, peers: Sequence[Peer]) -> None:
        self._peers = peers

    def run(self, stopped: Callable[[], bool], tell: Callable[[float, Figures], None]) -> Outcome:
        begun = self._clock()

        def wait_until(moment: float, finished: threading.Event) -> None:
            """Waits, until it is `finished` at most, and tells of the progress."""
            while (left := moment - self._clock()) > 0 and not stopped() and not finished.wait(min(left, PROGRESS)):
                tell(min(1.0, (self._clock() - begun) / self._duration), {})

        never = threading.Event()
        for peer in self._peers:
            wait_until(begun + peer.after, never)
            if stopped():
                break
            self._told[peer.host] = self._test(peer, wait_until, begun + peer.after + self._load.seconds + PAUSE)
        wait_until(begun + self._duration, never)  # for the tests of others
        pairs = {host: figures_of(told) for host, told in self._told.items()}
        rates = [float(figures["rate"]) for figures in pairs.values() if "problem" not in figures]
        size = sum(int(figures["bytes"]) for figures in pairs.values())
        more: Figures = {"tests": len(rates), "unreached": len(self._peers) - len(rates)}
        if rates:
            more |= {"rate": sum(rates) / len(rates), "slowest": min(rates), "fastest": max(rates)}
        figures = rate_figures(size, len(rates) * self._load.seconds, {}) if self._peers else {}  # or it only answered
        return Outcome({**figures, **more}, pairs, self._output() if pairs else "")

    def _test(self, peer: Peer, wait_until: Callable[[float, threading.Event], None], end: float) -> Any:
        """What iperf3 writes of a test, which has to be over by `end`."""
        load = self._load
        if not peer.port:
            return {"error": "it does not answer"}
        self._client = subprocess.Popen(
            [
                *(self._program, f"--client={peer.address}", f"--port={peer.port}", "--json", "--interval=0"),
                *(f"--time={max(1, round(load.seconds))}", f"--parallel={load.parallel}", "--connect-timeout=2000"),
                *(["--udp"] if load.protocol == "udp" else []),
                *(["--reverse"] if load.reverse else []),
                *([f"--bitrate={load.bitrate}"] if load.bitrate else []),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        client, said, finished = self._client, [""], threading.Event()

        def read() -> None:
            assert client.stdout is not None
            said[0] = client.stdout.read()
            finished.set()

        reading = threading.Thread(target=read)
        reading.start()
        wait_until(end, finished)
        client.kill()
        reading.join()
        try:
            return json.loads(said[0])
        except ValueError:
            return {"error": said[0].strip()[-_MAX_PROBLEM:] or "it did not end in its time"}

    def _output(self) -> str:
        """All that it wrote, by peer; the last ones are left out where it is too much."""
        kept: dict[str, Any] = {}
        size = 0
        for host, told in self._told.items():
            size += len(json.dumps(told))
            if size < MAX_OUTPUT:
                kept[host] = told
        return json.dumps(kept)

    def clean(self) -> None:
        for process in (self._client, self._server):
            if process is not None and process.poll() is None:
                process.kill()
            if process is not None:
                process.wait()


def _free_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def figures_of(told: Any) -> Figures:
    """What iperf3's JSON says of one test: bytes that came, and bytes a second; `problem` where there was none."""
    if "error" in told:
        return {**rate_figures(0, 0.0, {}), "problem": str(told["error"])[:_MAX_PROBLEM]}
    came, sent = told["end"]["sum_received"], told["end"]["sum_sent"]
    more: Figures = {"sent": sent["bytes"]}
    for name, value in (("retransmits", sent.get("retransmits")), ("jitter", came.get("jitter_ms"))):
        if value is not None:
            more[name] = value / 1000 if name == "jitter" else value
    if "lost_percent" in came:
        more["lost"] = came["lost_percent"] / 100
    return rate_figures(came["bytes"], came["seconds"], more)
