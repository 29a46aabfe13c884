"""Tests for `perfmon.web.page`, and for what the page's own files keep to."""

import gzip
import re
from html.parser import HTMLParser
from http import HTTPStatus
from importlib.resources import files

from perfmon.core import devices
from perfmon.core.fleet import FACTS, FIGURES
from perfmon.core.units import UNITS
from perfmon.web.api import JsonApi
from perfmon.web.site import PAGE_FILES
from tests.web.fakes import NOW, TOKEN, SiteTestCase, StandIn

STATIC = files("perfmon.web").joinpath("static")
OWN = [name for name in PAGE_FILES.values() if not name.startswith("uplot/")]
TEXTS = {name: STATIC.joinpath(name).read_text() for name in OWN}
SCRIPTS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}

# Elements whose text is not shown but obeyed.
_OBEYED = ("script", "style")


class Markup(HTMLParser):
    """What a test wants to know of an HTML file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in _OBEYED and data.strip():
            self.inline.append(data)

    def values(self, *names: str) -> list[str]:
        """The values of all attributes with one of `names`."""
        return [attrs[name] or "" for _, attrs in self.elements for name in names if name in attrs]


INDEX = Markup(TEXTS["index.html"])


class ServedTests(SiteTestCase):
    token = TOKEN

    def test_files(self) -> None:
        """Each file is served as it is, with its type and with its length, and without a token."""
        types = {
            "index.html": "text/html; charset=utf-8",
            "page.css": "text/css; charset=utf-8",
            "icon.svg": "image/svg+xml",
            "charts.css": "text/css; charset=utf-8",
            "uplot/uPlot.min.css": "text/css; charset=utf-8",
            **dict.fromkeys([*SCRIPTS, "uplot/uPlot.esm.js"], "text/javascript; charset=utf-8"),
        }
        for path, name in PAGE_FILES.items():
            answer = self.ask_raw(b"/" + path)
            self.assertEqual(answer.status, HTTPStatus.OK, name)
            self.assertEqual(answer.body, STATIC.joinpath(name).read_bytes())
            self.assertEqual(answer.headers["content-type"], types[name])
            self.assertEqual(answer.headers["content-length"], str(len(answer.body)))

    def test_packed(self) -> None:
        """Who takes gzip gets it, which is less than half; who has the file already gets nothing."""
        whole, sent = 0, 0
        for path, name in PAGE_FILES.items():
            body = STATIC.joinpath(name).read_bytes()
            answer = self.ask_raw(b"/" + path, b"Accept-Encoding: deflate, gzip;q=0.5")
            self.assertEqual((answer.headers["content-encoding"], gzip.decompress(answer.body)), ("gzip", body))
            self.assertEqual(answer.headers["vary"], "Accept-Encoding")
            plain = self.ask_raw(b"/" + path, b"Accept-Encoding: br, gzip;q=0")
            self.assertEqual((plain.headers.get("content-encoding"), plain.body), (None, body))
            again = self.ask_raw(b"/" + path, b"If-None-Match: " + answer.headers["etag"].encode())
            self.assertEqual((again.status, again.body), (HTTPStatus.NOT_MODIFIED, b""))
            whole, sent = whole + len(body), sent + len(answer.body)
        self.assertLess(2 * sent, whole)

    def test_all_files(self) -> None:
        """No file of ours lies there that is not served."""
        self.assertEqual({entry.name for entry in STATIC.iterdir()}, {*OWN, "uplot"})

    def test_guarded(self) -> None:
        """Every file comes with a policy that allows the page's own files and nothing else."""
        for path in PAGE_FILES:
            headers = self.ask_raw(b"/" + path).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            self.assertEqual(policy["default-src"], "'none'")
            self.assertEqual(policy["script-src"], "'self'")
            self.assertEqual(policy["style-src"], "'self'")
            self.assertEqual(policy["connect-src"], "'self'")
            for name in ("base-uri", "form-action", "frame-ancestors"):
                self.assertEqual(policy[name], "'none'")
            self.assertNotIn("unsafe", headers["content-security-policy"])
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
            self.assertEqual(headers["cache-control"], "no-cache")

    def test_methods(self) -> None:
        """A page can only be read."""
        self.assertEqual(self.ask("/page.js", "HEAD").status, HTTPStatus.OK)
        for method in ("POST", "PUT", "DELETE"):
            answer = self.ask("/page.js", method)
            self.assertEqual(answer.status, HTTPStatus.METHOD_NOT_ALLOWED)
            self.assertEqual(answer.headers["allow"], "GET, HEAD")
            self.assertEqual(answer.error, "this path takes GET, HEAD")

    def test_whole_path(self) -> None:
        """A file has one address: neither below it nor beside it does it appear again."""
        for target in (b"//", b"//page.js", b"/page.js/", b"/page.js/x", b"/page.css/../page.js", b"/static/page.js"):
            self.assertEqual(self.ask_raw(target).status, HTTPStatus.NOT_FOUND, target)

    def test_query(self) -> None:
        """What follows a question mark does not matter to a file."""
        self.assertEqual(self.ask_raw(b"/page.js?v=2").body, STATIC.joinpath("page.js").read_bytes())


class ReferenceTests(SiteTestCase):
    def test_served(self) -> None:
        """Every file that the page refers to is served."""
        html = [path for path in INDEX.values("src", "href") if path != "plain" and not path.startswith("#/")]
        modules = [path for text in SCRIPTS.values() for path in re.findall(r'(?:from |import\()"\./([^"]+)"', text)]
        self.assertIn("page.js", html)
        self.assertEqual({path.encode() for path in (*html, *modules)}, set(PAGE_FILES) - {b""})

    def test_library(self) -> None:
        """The charts' library is loaded by the views that draw charts, and not before."""
        first = {"page.js"}
        while (
            more := {path for name in first for path in re.findall(r'from "\./([^"]+)"', SCRIPTS.get(name, ""))} - first
        ):
            first |= more
        self.assertNotIn("uPlot.esm.js", first)
        self.assertNotIn("chart.js", first)

    def test_relative(self) -> None:
        """Addresses are relative, so that the page works below any path of a proxy; none is of another site."""
        for path in INDEX.values("src", "href", "action"):
            self.assertNotRegex(path, r"^/|^\w+:")
        for name, text in TEXTS.items():
            others = set(re.findall(r"\w+://[^\s\"'`]+", text)) - {"http://www.w3.org/2000/svg"}
            self.assertEqual(others, set(), name)
            self.assertNotRegex(text, r"@import|url\(|importScripts|import\((?!\"\./\w+\.js\"\))")

    def test_questions(self) -> None:
        """The page asks the API only for what it has, with parameters that it takes."""
        routes = JsonApi(StandIn(), lambda: NOW).routes()
        asked = {path for text in SCRIPTS.values() for path in re.findall(r"[\"`](api/[^\"`]*)[\"`]", text)}
        self.assertGreaterEqual(len(asked), 6)
        for path in asked:
            segments = re.sub(r"\$\{[^}]+\}", "x", path.replace("${what}", "stop")).split("/")
            self.assertTrue([route for route in routes if route.match(segments) is not None], path)

    def test_metrics(self) -> None:
        """The metrics that the page names are ones that agents send."""
        named = {name for text in SCRIPTS.values() for name in re.findall(r'"((?:system|perfmon)\.[\w.]+)"', text)}
        self.assertGreaterEqual(len(named), 15)
        self.assertLessEqual(named, set(UNITS))

    def test_columns(self) -> None:
        """The columns of the stream that the page makes use of are ones that it is sent."""
        (charted,) = re.findall(r"CHARTED = (\[.*?\]);", SCRIPTS["fleet.js"])
        self.assertLessEqual(set(re.findall(r'"(\w+)"', charted)) - {"network"}, set(FIGURES))
        used = set(re.findall(r"\bhost\.(\w+)\b(?!\()", SCRIPTS["hosts.js"]))
        own = {"place", "labelled", "network", "present", "bare", "known"}  # what the page makes of them
        self.assertLessEqual(used - own, {*FACTS, *FIGURES})

    def test_devices(self) -> None:
        """The page leaves out the same devices as the collector, so that both tell the same rates."""
        (inner,) = re.findall(r"const INNER = /\^\((.*)\)\$/;", SCRIPTS["overview.js"])
        disks = devices._INNER_DISK.pattern.removeprefix("(").removesuffix(").*").split("|")
        expected = {*devices._INNER_INTERFACE.pattern.split("|"), *(f"{disk}.*" for disk in disks)}
        self.assertEqual(set(inner.split("|")), expected)

    def test_elements(self) -> None:
        """The elements that the script looks for are in the page, each once; and so are the columns."""
        ids = INDEX.values("id")
        self.assertEqual(len(ids), len(set(ids)))
        wanted = re.findall(r'\bat\("([^"]+)"\)', SCRIPTS["page.js"])
        wanted += re.findall(r'within\("#([\w-]+)', SCRIPTS["overview.js"])
        self.assertGreaterEqual(len(wanted), 20)
        self.assertLessEqual(set(wanted), set(ids))
        self.assertLessEqual(set(INDEX.values("aria-labelledby", "for")), set(ids))
        (columns,) = re.findall(r"const COLUMNS = \{(.*?)\n\};", SCRIPTS["hosts.js"], re.DOTALL)
        self.assertEqual(re.findall(r"^  (\w+):", columns, re.MULTILINE), INDEX.values("data-column"))


class SafetyTests(SiteTestCase):
    def test_nothing_inline(self) -> None:
        """The page's policy forbids scripts and styles within the page, and there are none."""
        self.assertEqual(INDEX.inline, [])
        for tag, attributes in INDEX.elements:
            self.assertNotEqual(tag, "style")
            for name in attributes:
                self.assertFalse(name == "style" or name.startswith("on"), (tag, name))
            if tag == "script":
                self.assertEqual(attributes, {"type": "module", "src": "page.js"})

    def test_text_stays_text(self) -> None:
        """What hosts are called never becomes markup or code: the scripts use nothing that could make it so."""
        dangerous = (
            r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|parseFromString|createContextualFragment|srcdoc"
            r"|document\.write|\beval\b|new Function|javascript:|setTimeout\(\s*[\"'`]"
        )
        for name, text in SCRIPTS.items():
            self.assertIsNone(re.search(dangerous, text), name)

    def test_attributes(self) -> None:
        """Attributes that are set are fixed ones: none of them is an address or a handler."""
        for text in SCRIPTS.values():
            for name in re.findall(r"setAttribute\(([^,]+),", text):
                self.assertIn(name, ('"role"', '"class"', '"viewBox"', '"d"') if "aria-" not in name else (name,))

    def test_token(self) -> None:
        """The token lives no longer than the tab."""
        for text in SCRIPTS.values():
            self.assertNotRegex(text, r"localStorage|document\.cookie|indexedDB")

    def test_without_scripts(self) -> None:
        """A browser without scripts is told so, and where the figures are."""
        self.assertIn("noscript", [tag for tag, _ in INDEX.elements])
        self.assertIn("plain", INDEX.values("href"))

    def test_narrow(self) -> None:
        """A phone shows the page at its own width."""
        self.assertIn("width=device-width, initial-scale=1", INDEX.values("content"))
