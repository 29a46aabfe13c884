"""The page: a few files of ours, read once, sent with a Content-Security-Policy that allows nothing else."""

from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePath

import orjson
from twisted.web.resource import Resource
from twisted.web.server import Request

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# Not Python's mimetypes: it asks the machine, which may say that a script is text/plain, and then no browser runs it.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageFile(Resource):
    """One file of the page."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._body = files("perfmon.web").joinpath("static", name).read_bytes()
        self._type = _TYPES[PurePath(name).suffix]

    def render(self, request: Request) -> bytes:
        request.setHeader("X-Content-Type-Options", "nosniff")
        if request.method not in (b"GET", b"HEAD"):
            request.setResponseCode(HTTPStatus.METHOD_NOT_ALLOWED)
            request.setHeader("Allow", "GET, HEAD")
            request.setHeader("Content-Type", "application/json")
            return orjson.dumps({"error": "this path takes GET, HEAD"})
        request.setHeader("Content-Type", self._type)
        request.setHeader("Content-Security-Policy", POLICY)
        request.setHeader("Cache-Control", "no-cache")
        request.setHeader("Referrer-Policy", "no-referrer")
        return self._body
