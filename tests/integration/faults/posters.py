"""Senders beside the agents: HTTP, whose answers are promises, and Graphite, which nobody acknowledges."""

import http.client
import itertools
import socket
import threading
import time

import orjson

from tests.integration.faults.ledger import Host

PERIOD = 0.2  # s between two sendings

# A request that is not answered by then is made again.
_PATIENCE = 5.0  # s


class _Poster:
    """Sends until it is stopped, in a thread of its own, and keeps in `host` what must be there and what may."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.host = Host()
        self.perhaps: dict[int, dict[str, float]] = {}  # rounds that may be stored, by their time (ms)
        self._port = port
        self._stopping = threading.Event()
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing is under way."""
        self._stopping.set()
        self._thread.join(2 * _PATIENCE)

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD):
            # whole milliseconds, so that what is sent is what is stored
            moment = round(time.time() * 1000)
            values = {f"post.number;part={part}": float(next(self._numbers)) for part in range(3)}
            self.perhaps[moment] = values
            while not self._send(moment / 1000, values) and not self._stopping.wait(PERIOD):
                pass

    def _send(self, moment: float, values: dict[str, float]) -> bool:
        """Whether it is done with, or to be tried again."""
        raise NotImplementedError


class HttpPoster(_Poster):
    """`POST /api/v1/samples`; what is answered with 200 is stored."""

    def _send(self, moment: float, values: dict[str, float]) -> bool:
        samples = [{"metric": metric, "value": value, "time": moment} for metric, value in values.items()]
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            body = orjson.dumps({"host": self.name, "samples": samples})
            connection.request("POST", "/api/v1/samples", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            done = (
                orjson.loads(answer.read()) == {"stored": len(samples), "refused": []}
                if answer.status == 200
                else False
            )
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
            return False
        finally:
            connection.close()
        if done:
            self.host.rounds[round(moment * 1000)] = values
        return done


class GraphitePoster(_Poster):
    """Lines on one connection, and on a new one when that breaks."""

    def __init__(self, name: str, port: int) -> None:
        self._connection: socket.socket | None = None
        super().__init__(name, port)

    def _send(self, moment: float, values: dict[str, float]) -> bool:
        lines = "".join(f"{metric};host={self.name} {value} {moment:.3f}\n" for metric, value in values.items())
        try:
            if self._connection is None:
                self._connection = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE)
            self._connection.sendall(lines.encode())
        except OSError:
            self._close()
        return True  # nobody knows; best effort

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def stop(self) -> None:
        super().stop()
        self._close()
