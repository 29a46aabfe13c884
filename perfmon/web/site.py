"""The HTTP site of the collector: the page at ``/``, everything else by the API's routes."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from perfmon.web.api import JsonApi
from perfmon.web.asking import Backend
from perfmon.web.http import Api, LimitedRequest
from perfmon.web.page import PageFile

# By their paths. What is in the folder uplot is not ours: setup.py fetches it.
PAGE_FILES = {
    b"": "index.html",
    b"page.css": "page.css",
    b"charts.css": "charts.css",
    b"icon.svg": "icon.svg",
    b"page.js": "page.js",
    b"collector.js": "collector.js",
    b"route.js": "route.js",
    b"fleet.js": "fleet.js",
    b"overview.js": "overview.js",
    b"hosts.js": "hosts.js",
    b"sparkline.js": "sparkline.js",
    b"events.js": "events.js",
    b"host.js": "host.js",
    b"explore.js": "explore.js",
    b"benchmarks.js": "benchmarks.js",
    b"pairs.js": "pairs.js",
    b"rightsizing.js": "rightsizing.js",
    b"charts.js": "charts.js",
    b"chart.js": "chart.js",
    b"series.js": "series.js",
    b"range.js": "range.js",
    b"format.js": "format.js",
    b"uPlot.esm.js": "uplot/uPlot.esm.js",
    b"uPlot.min.css": "uplot/uPlot.min.css",
}

# A peer that sends nothing for so long is closed.
IDLE_TIMEOUT = 60.0  # s


class _Root(Resource):
    """Files of the page by name, the API for all other paths."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self._api = api
        for path, name in PAGE_FILES.items():
            self.putChild(path, PageFile(name))

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        # a file of the page only under its whole path: neither //x nor /page.js/x is one
        return self._api if request.postpath else super().getChildWithDefault(path, request)

    def getChild(self, path: bytes, request: Request) -> IResource:
        return self._api


class _Site(Site):
    def log(self, request: HttpRequest) -> None:
        """No access log: every open page asks three questions in two seconds. What fails is logged by the API."""


def make_site(
    backend: Backend,
    token: str,
    wall: Callable[[], float],
    reactor: IReactorTime | None = None,
    version: str = "",
) -> Site:
    """The site; `token` guards all but the page's own files and the probes of life (empty: nothing is guarded).

    `reactor` keeps the time of idle connections, by default the global one; `version` is that of the collector.
    """
    root = _Root(Api(JsonApi(backend, wall, version).routes(), token))
    site = _Site(root, requestFactory=LimitedRequest, timeout=IDLE_TIMEOUT, reactor=reactor)
    site.displayTracebacks = False
    return site
