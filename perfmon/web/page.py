"""The page: a few files, read and packed once, sent with a Content-Security-Policy that allows nothing else."""

import gzip
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePath

import orjson
from twisted.web.http import CACHED
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
        self._packed = gzip.compress(self._body, mtime=0)
        self._tag = b'"%b"' % sha256(self._body).hexdigest()[:16].encode()
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
        request.setHeader("Vary", "Accept-Encoding")
        if request.setETag(self._tag) is CACHED:
            return b""
        if not takes_gzip(request):
            return self._body
        request.setHeader("Content-Encoding", "gzip")
        return self._packed


def takes_gzip(request: Request) -> bool:
    """Whether the client has named gzip, and not as what it does not take."""
    for coding in (request.getHeader("accept-encoding") or "").lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";")
        if name == "gzip":
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
