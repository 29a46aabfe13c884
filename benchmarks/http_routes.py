"""A trivial JSON route on perfmon's own table of routes, the same on Klein, and on a bare Resource as the floor.

    pip install 'klein==24.8.0'      # for this comparison only, perfmon does not use it
    python benchmarks/http_routes.py [--requests 3000]

Each server runs in a process of its own, on the same core; the client, on another, keeps one connection to each
and asks them in turn. Every answer is compared with the one expected. The time is what the client waits, so it
holds the client's own work; the CPU is the server's alone.
"""

import argparse
import http.client
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from common import CLIENT_CORE, SERVER_CORE, cpu_of, end, machine, pin, versions

PATH = "/api/v1/hosts/web1"
ANSWER = {"host": "web1", "state": "up"}

# Requests before the clock counts: caches fill, and the kernel's windows open.
WARM_UP = 200


def perfmon_site() -> Any:
    """The route as perfmon serves it: token check off, parameters checked, headers set."""
    from twisted.web.server import Site

    from perfmon.web.http import Api, Call, LimitedRequest, Route

    async def host(call: Call) -> Any:
        return {"host": call.path["host"], "state": "up"}

    return Site(Api([Route("GET", "/api/v1/hosts/{host}", host)], token=""), requestFactory=LimitedRequest)


def klein_site() -> Any:
    """The same route as Klein's documentation writes it."""
    from twisted.web.server import Site

    app = importlib.import_module("klein").Klein()

    def host(request: Any, host: str) -> bytes:
        request.setHeader(b"content-type", b"application/json")
        return orjson.dumps({"host": host, "state": "up"})

    app.route("/api/v1/hosts/<host>", methods=["GET"])(host)
    return Site(app.resource())


def bare_site() -> Any:
    """The least that twisted.web can do: no routing, no parameters, one fixed host."""
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Host(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            request.setHeader(b"content-type", b"application/json")
            return orjson.dumps(ANSWER)

    return Site(Host())


SITES: dict[str, Callable[[], Any]] = {"perfmon": perfmon_site, "klein": klein_site, "bare": bare_site}


def serve(name: str) -> None:
    """Serves the site on a free port, and prints which."""
    from twisted.internet import reactor

    loop: Any = reactor
    port = loop.listenTCP(0, SITES[name](), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    loop.run()


def ask(connection: http.client.HTTPConnection) -> float:
    """Seconds that one request took."""
    start = time.perf_counter()
    connection.request("GET", PATH)
    answer = connection.getresponse()
    body = answer.read()
    taken = time.perf_counter() - start
    if answer.status != 200 or orjson.loads(body) != ANSWER:
        raise SystemExit(f"unexpected answer: {answer.status} {body!r}")
    return taken


@dataclass(slots=True)
class Figures:
    """What was measured of one server."""

    taken: list[float] = field(default_factory=list)  # s of each request
    cpu: float = 0.0  # s of the server, for all of them


def measure(requests: int) -> dict[str, Figures]:
    """Sends `requests` requests to each server."""
    servers = {
        name: subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE, text=True)
        for name in SITES
    }
    try:
        connections = {}
        for name, server in servers.items():
            assert server.stdout is not None
            connections[name] = http.client.HTTPConnection("127.0.0.1", int(server.stdout.readline()), timeout=30)
        for _ in range(WARM_UP):
            for connection in connections.values():
                ask(connection)
        figures = {name: Figures(cpu=-cpu_of(server.pid)) for name, server in servers.items()}
        for _ in range(requests):
            for name, connection in connections.items():
                figures[name].taken.append(ask(connection))
        for name, server in servers.items():
            figures[name].cpu += cpu_of(server.pid)
        return figures
    finally:
        for server in servers.values():
            end(server)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="to each server (default 3000)")
    parser.add_argument("--serve", choices=SITES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        pin(SERVER_CORE)
        serve(options.serve)
        return
    print(f"machine   {machine()}")
    print(f"versions  {versions('perfmon', 'twisted', 'klein', 'werkzeug', 'orjson')}")
    pin(CLIENT_CORE)
    found = measure(options.requests)
    for name, figures in found.items():
        median = statistics.median(figures.taken) * 1e6
        cpu = figures.cpu / options.requests * 1e6
        print(f"{name:<9} median {median:.0f} us, server's CPU {cpu:.0f} us a request, {options.requests} requests")
    ours, theirs = found["perfmon"], found["klein"]
    time_ratio = statistics.median(theirs.taken) / statistics.median(ours.taken)
    print(
        f"klein takes {time_ratio:.2f} times the time and {theirs.cpu / ours.cpu:.2f} times the CPU of perfmon's table"
    )


if __name__ == "__main__":
    main()
