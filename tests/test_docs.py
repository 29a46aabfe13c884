"""What the documentation says of options, routes, messages, keys and metrics: all that the code has, and no more."""

import argparse
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType, UnionType
from typing import Any, cast, get_args

import msgspec
import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from perfmon import agent_tap, cli, server_tap, simulator_tap
from perfmon.core import chunks, graphite, messages
from perfmon.core.chunks import TAGGED_FIELD, TIMES_FIELD, Times, read_samples
from perfmon.core.frames import HEAD, NAMES, ROWS, SAMPLES, head_frame, names_frame, rows_frame
from perfmon.core.head_reader import read_head
from perfmon.core.names import split_tags
from perfmon.core.presence import State
from perfmon.core.reject import REASONS
from perfmon.core.rollups import FIELDS
from perfmon.core.sealed import FED_FIELD, LATE_FIELD, Sealed, sealed
from perfmon.core.tiers import DAY, TIERS, WindowName
from perfmon.core.units import UNITS
from perfmon.net import agent_session, collector
from perfmon.probes.sampler import Sampler, all_probes
from perfmon.services import descriptors, ingest
from perfmon.storage import keys
from perfmon.storage.windows import REVISION_FIELD
from perfmon.web.api import JsonApi
from perfmon.web.asking import Backend
from perfmon.web.http import Route
from tests.core.models import done
from tests.services.own_figures import own_figures

PROJECT = Path(__file__).parent.parent
DOCS = PROJECT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [PROJECT / "README.md", PROJECT / "benchmarks" / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")


@cache
def text_of(page: Path) -> str:
    return page.read_text()


def sections(text: str, level: int) -> dict[str, str]:
    """Heading to what follows it, of one level: up to the next heading of this level or above."""
    found: dict[str, str] = {}
    plain = _FENCED.sub(lambda code: re.sub(r"^#", " ", code[0], flags=re.MULTILINE), text)
    parts = re.split(rf"^(#{{1,{level}}}) (.+)$", plain, flags=re.MULTILINE)
    for marks, heading, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if len(marks) == level:
            found[heading.strip()] = body
    return found


def section(page: Path, *headings: str) -> str:
    """What stands under the headings, one inside the other, each given by its beginning."""
    text = text_of(page)
    for level, beginning in enumerate(headings, 2):
        (text,) = (body for heading, body in sections(text, level).items() if heading.startswith(beginning))
    return text


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table, without headings."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def column(text: str, title: str) -> set[str]:
    """The first cells, without their backquotes, of the tables whose first column is called `title`."""
    tables = re.findall(rf"^\| {title} \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    return {cells[0].strip("`") for table in tables for cells in rows(table)}


def fenced(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    plain = _FENCED.sub("", text_of(page))
    return {slug(heading) for heading in re.findall(r"^#{1,6} (.+)$", plain, re.MULTILINE)}


class PageTests(SynchronousTestCase):
    def test_links(self) -> None:
        """Every relative link leads to a file, and to a heading in it."""
        broken = []
        for page in PAGES:
            for link in _LINK.findall(_FENCED.sub("", text_of(page))):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                if not target.exists() or (anchor and anchor not in anchors(target)):
                    broken.append(f"{page.relative_to(PROJECT)}: {link}")
        self.assertEqual(broken, [])

    def test_all_pages_are_linked(self) -> None:
        """Every page is reached from the README."""
        linked = {(PROJECT / link).resolve() for link in _LINK.findall(text_of(PROJECT / "README.md"))}
        self.assertEqual([str(page) for page in PAGES[1:] if page not in linked], [])

    def test_first_line(self) -> None:
        """Each page begins with its title and a line that says what it is."""
        for page in PAGES:
            title, empty, first = text_of(page).splitlines()[:3]
            self.assertTrue(title.startswith("# ") and not empty and first[0].isalpha(), page)

    def test_readme_is_short(self) -> None:
        self.assertLess(len(text_of(PROJECT / "README.md").splitlines()), 121)


class OptionTests(SynchronousTestCase):
    TAPS: Mapping[str, type[server_tap.Options | agent_tap.Options | simulator_tap.Options]] = {
        "The collector": server_tap.Options,
        "The agent": agent_tap.Options,
        "The simulator": simulator_tap.Options,
    }

    def test_options(self) -> None:
        """Every long option of each program has its heading, and no other has."""
        for program, options in self.TAPS.items():
            body = section(REFERENCE / "options.md", program)
            self.assertEqual(set(sections(body, 3)), {f"--{option.rstrip('=')}" for option in options().longOpt})

    def test_defaults(self) -> None:
        """Each default and each short option stands with its option."""
        for program, options in self.TAPS.items():
            described = sections(section(REFERENCE / "options.md", program), 3)
            for long, short, default, *_ in options.optParameters:
                body = described[f"--{long}"]
                if default is not None:
                    self.assertIn(f"Default: `{default}`", body, long)
                if short is not None:
                    self.assertIn(f"`-{short} ", body, long)

    def test_toml(self) -> None:
        """The TOML files in the examples and on the pages are taken by the real options."""
        taken = 0
        files = [(path, path.read_text()) for path in sorted((PROJECT / "examples").glob("*.toml"))]
        files += [(page, block) for page in PAGES for block in fenced(text_of(page), "toml")]
        for path, text in files:
            if "outputs." in text:
                continue  # Telegraf's
            options = agent_tap.Options() if "server" in tomllib.loads(text) else server_tap.Options()
            self._parse(options, text)
            self.assertIsNotNone(options.config, path)
            taken += 1
        self.assertGreater(taken, 6)

    def _parse(self, options: Any, text: str) -> None:
        """Parses `text` as a file; files that it names are replaced by one that is there."""
        folder = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(folder.cleanup)
        token, config = Path(folder.name) / "token", Path(folder.name) / "config"
        token.write_text("correct-horse-battery-staple")
        config.write_text(re.sub(r'^token-file = "[^"]*"', f'token-file = "{token}"', text, flags=re.MULTILINE))
        needs_token = "interface" in tomllib.loads(text) or "listen" in tomllib.loads(text)
        options.parseOptions(["--config", str(config), *(["--token-file", str(token)] if needs_token else [])])

    def test_examples_are_whole(self) -> None:
        """The example files show every option, with its default where it has one, and each with a comment."""
        for name, tap in (("perfmon.toml", server_tap), ("agent.toml", agent_tap)):
            options = tap.Options()
            shown = {}
            for line in (PROJECT / "examples" / name).read_text().splitlines():
                match = re.fullmatch(r"(?:# )?([a-z-]+) = (\S.*?)\s+# \S.*", line)
                if match is not None:
                    shown[match[1]] = match[2]
                else:
                    self.assertRegex(line, r"\A(#.*)?\Z")
            expected = {option.rstrip("=") for option in options.longOpt} - {"config", "help", "version"}
            self.assertEqual(set(shown), expected, name)
            for long, _, default, *_ in options.optParameters:
                if default is not None:
                    self.assertEqual(str(tomllib.loads(f"x = {shown[long]}")["x"]), default, long)


class RouteTests(SynchronousTestCase):
    def setUp(self) -> None:
        routes: list[Route] = JsonApi(cast(Backend, None), lambda: 0.0).routes()
        self.routes = {f"{route.method} {route.path}": route for route in routes}
        self.described = sections(section(REFERENCE / "http.md", "Routes"), 3)

    def test_routes(self) -> None:
        """Every route has its heading, and no other has."""
        self.assertEqual(set(self.described), set(self.routes))

    def test_parameters(self) -> None:
        """Every parameter of a route stands in its table, and no other does."""
        for name, route in self.routes.items():
            self.assertEqual(column(self.described[name], "parameter"), set(route.parameters), name)

    def test_open_routes(self) -> None:
        """The routes that need no token say so."""
        for name, route in self.routes.items():
            self.assertEqual("No token" in self.described[name], route.open, name)


class ProtocolTests(SynchronousTestCase):
    SIDES: Mapping[str, UnionType] = {
        "From the agent": messages.FromAgent,
        "From the collector": messages.FromCollector,
    }

    def test_messages(self) -> None:
        """Every message of each side has its heading with all its fields and their defaults, and no other has."""
        for side, union in self.SIDES.items():
            described = sections(section(REFERENCE / "protocol.md", side), 3)
            known = {f"`{message.__struct_config__.tag}`": message for message in get_args(union)}
            self.assertEqual(set(described), set(known))
            for heading, message in known.items():
                fields = {cells[0]: cells[2] for cells in rows(described[heading])}
                expected = {f"`{field.name}`": self._default(field) for field in msgspec.structs.fields(message)}
                self.assertEqual(fields, expected, heading)

    def _default(self, field: msgspec.structs.FieldInfo) -> str:
        if field.required:
            return "needed"
        default = field.default if field.default is not msgspec.NODEFAULT else cast(Any, field.default_factory)()
        text = msgspec.json.encode(default).decode()
        return "0" if text == "0.0" else f"`{text}`"

    def test_session(self) -> None:
        """Each line of the annotated session is a message of its side."""
        (session,) = fenced(section(REFERENCE / "protocol.md", "A session"), "")
        lines = session.splitlines()
        self.assertGreater(len(lines), 10)
        for line in lines:
            decode = {"> ": messages.from_agent, "< ": messages.from_collector}[line[:2]]
            decode(line[2:].encode())

    def test_reasons(self) -> None:
        """Every reason to refuse something is explained, and no other."""
        graphite = column(section(REFERENCE / "graphite.md", "What is refused"), "reason")
        protocol = {
            reason for cells in rows(section(REFERENCE / "protocol.md", "What is refused")) for reason in cells[1:]
        }
        counted = {reason.strip("`") for reason in protocol if reason.startswith("`")}
        self.assertEqual(graphite | counted, set(REASONS))


class MetricTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.described = {cells[0].strip("`"): cells[1:] for cells in rows(text_of(REFERENCE / "metrics.md"))}

    def test_units(self) -> None:
        """Every metric has its row with its unit, and no other has."""
        self.assertEqual({metric: cells[0] for metric, cells in self.described.items()}, dict(UNITS))
        self.assertEqual({cells[1] for cells in self.described.values()}, {"gauge", "counter"})

    def test_collector(self) -> None:
        """The metrics under the heading of the collector are those that it has."""
        described = {cells[0].strip("`") for cells in rows(section(REFERENCE / "metrics.md", "The collector"))}
        self.assertEqual({split_tags(metric)[0] for metric in own_figures()}, described)

    def test_tags(self) -> None:
        """What this machine sends has the tags that the table says, and so has what the collector stores of itself."""
        sampler = Sampler(all_probes())
        sampler.sample()
        values, _ = sampler.sample()
        self.assertGreater(len(values), 10)
        for metric in (*values, *own_figures()):
            name, tags = split_tags(metric)
            self.assertEqual(re.findall(r"`(\w+)`", self.described[name][2]), sorted(tags), metric)


class LimitTests(SynchronousTestCase):
    MODULES: tuple[ModuleType, ...] = (graphite, messages, agent_session, collector, descriptors, ingest)

    def test_limits(self) -> None:
        """Each limit on the page has the value that it has in the code; of the port's own none is missing."""
        modules = {module.__name__.rpartition(".")[2]: module for module in self.MODULES}
        described = {}
        for heading in ("One connection", "All connections"):
            for limit, value, *_ in rows(section(REFERENCE / "limits.md", heading)):
                module, _, name = limit.strip("`").partition(".")
                described[module, name] = value
                shown = float(value.split()[0].replace(",", ""))
                self.assertEqual(shown, getattr(modules[module], name), limit)
        for module in ("agent_session", "collector"):
            numbers = [name for name, value in vars(modules[module]).items() if type(value) in (int, float)]
            own = {
                name for name in numbers if name.isupper() and not name.startswith("_") and name not in vars(messages)
            }
            self.assertEqual(own, {name for where, name in described if where == module})


class KeyTests(SynchronousTestCase):
    PAGE = REFERENCE / "keys.md"

    def test_keys(self) -> None:
        """Every key has its heading, and no other has."""
        window = WindowName("HOST", "TIER", cast(Any, "WINDOW"))
        expected = {keys.HOSTS, keys.PRESENT, keys.EVENTS, keys.CONTROL, keys.meta("HOST"), keys.open_windows("TIER")}
        expected |= {
            keys.COLLECTORS,
            keys.EPOCH,
            keys.RUNS,
            keys.OPEN_RUNS,
            keys.run("ID"),
            keys.run_output("ID"),
            keys.NOTES,
        }
        expected |= {keys.window(window), keys.head(window), keys.sealing(window)}
        own = [
            name
            for name, value in vars(keys).items()
            if not name.startswith("_")
            and (isinstance(value, str) or (isinstance(value, FunctionType) and value.__module__ == keys.__name__))
        ]
        own = [name for name in own if name not in ("of_host", "windows")]  # parts and patterns of keys
        self.assertEqual(len(own), len(expected), f"a key that this test does not know: {own}")
        self.assertEqual(set(sections(section(self.PAGE, "Keys"), 3)), {f"`{key}`" for key in expected})

    def test_tiers(self) -> None:
        """Each tier is told of with its window and how long it is kept."""
        found = {cells[0].strip("`"): cells[1:] for cells in rows(section(self.PAGE, "Keys")) if len(cells) == 4}
        self.assertEqual(list(found), [tier.name for tier in TIERS])
        for tier in TIERS:
            self.assertIn(f"({tier.window:,} s)", found[tier.name][1])
            self.assertEqual(found[tier.name][2], f"{tier.retention // DAY} d")

    def test_fields(self) -> None:
        """Every field that is no metric is explained, and no other."""
        found = column(section(self.PAGE, "Keys", "`pm:{HOST}:TIER:WINDOW`"), "field")
        self.assertEqual(found, {TIMES_FIELD, TAGGED_FIELD, FED_FIELD, LATE_FIELD, REVISION_FIELD})


class FormatTests(SynchronousTestCase):
    PAGE = REFERENCE / "formats.md"

    def test_kinds(self) -> None:
        """Every kind of frame and of block is named by its letter and its byte."""
        for title, kinds in (
            ("A head", (HEAD, NAMES, SAMPLES, ROWS)),
            ("A sealed window", (chunks.SAMPLES, chunks.SAMPLES_BY_ID, chunks.TIMES, chunks.AGGREGATES)),
        ):
            for kind in kinds:
                self.assertIn(f"`{chr(kind)}` ({kind:02x}) ", section(self.PAGE, title))

    def test_aggregates(self) -> None:
        """Every array of aggregates is explained in its order."""
        arrays = [cells[0] for cells in rows(section(self.PAGE, "Aggregates"))]
        self.assertEqual(arrays, ["times", *FIELDS, "parts", "first", "first end"])

    def test_sealed_example(self) -> None:
        """The bytes of the sealed window on the page are those that sealing the head of the page gives."""
        head = self._dump()
        fields = done(sealed(Sealed(1795352400, {}, "lab1"), head))
        explained = list(rows(section(self.PAGE, "A sealed window", "The same example")))
        self.assertEqual(bytes.fromhex("".join(cells[1].strip("`") for cells in explained)), fields["room.temperature"])
        at = 0
        for cells in explained:
            self.assertEqual(int(cells[0], 16), at)
            at += len(bytes.fromhex(cells[1].strip("`")))
        (block,) = read_samples(fields["room.temperature"])
        self.assertEqual(block.values.tolist(), [21.5, 21.75])
        self.assertEqual(Times(1795352400, b"").of(block).tolist(), [1795354660000, 1795354670000])

    def _dump(self) -> bytes:
        """The head on the page."""
        (dump,) = fenced(text_of(self.PAGE), "hexdump")
        *lines, last = dump.splitlines()
        head = bytes.fromhex("".join(line[8:58] for line in lines))
        self.assertEqual(len(head), int(last, 16))
        return head

    def test_worked_example(self) -> None:
        """The bytes on the page are those that `frames` makes, and it reads them as the page says."""
        head = self._dump()
        writer = 0x10EDC7B3
        metrics = ["room.temperature", "room.humidity"]
        values = np.array([[21.5, 0.5], [21.75, np.nan]], "<f8").tobytes()
        made = head_frame(bytes.fromhex("23 23 47 63 d3 58 03 95"))
        made += names_frame(writer, 0, metrics)
        made += rows_frame(writer, 0, 2, [2_260_000, 2_270_000], values)
        self.assertEqual(head, made)
        read = read_head(head, 1795352400, "lab1")
        self.assertEqual(read["room.temperature"].times.tolist(), [1795354660000, 1795354670000])
        self.assertEqual(read["room.humidity"].times.tolist(), [1795354660000])
        self.assertEqual(read["room.humidity"].values.tolist(), [0.5])

    def test_bytes_explained(self) -> None:
        """The tables of the worked example cover each byte once, in order."""
        body = section(self.PAGE, "A head", "A worked example")
        head = self._dump()
        explained = list(rows(body))
        places = [int(cells[0], 16) for cells in explained] + [len(head)]
        self.assertEqual(places[0], 0)
        for cells, start, stop in zip(explained, places, places[1:], strict=False):
            shown = cells[1].strip("`").split(" … ")
            self.assertEqual(head[start:stop][: len(bytes.fromhex(shown[0]))].hex(" "), shown[0])
            self.assertTrue(head[start:stop].endswith(bytes.fromhex(shown[-1])))
            if len(shown) == 1:
                self.assertEqual(stop - start, len(bytes.fromhex(shown[0])))


class CommandTests(SynchronousTestCase):
    PAGE = REFERENCE / "cli.md"

    def commands(self) -> dict[str, argparse.ArgumentParser]:
        (action,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
        return dict(action.choices)

    def test_commands(self) -> None:
        """Every command has its heading, and no other has."""
        described = sections(section(self.PAGE, "Commands"), 3)
        self.assertEqual(set(described), {f"perfmon {command}" for command in self.commands()})

    def test_options(self) -> None:
        """Every option stands in the table of its command or in that of all, and no other does."""
        common = self._options(section(self.PAGE, "Options of all commands"))
        for command, parser in self.commands().items():
            expected = set(self.options_of(parser))
            own = self._options(section(self.PAGE, "Commands", f"perfmon {command}"))
            self.assertEqual(common | own, expected, command)

    def options_of(self, parser: argparse.ArgumentParser) -> Iterator[str]:
        """Its own, and those of the commands below it."""
        for action in parser._actions:
            yield from (option for option in action.option_strings if option.startswith("--"))
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    yield from self.options_of(below)

    def _options(self, text: str) -> set[str]:
        return {option.partition(" ")[0] for option in column(text, "option")}


class StateTests(SynchronousTestCase):
    def test_states(self) -> None:
        """Every state is explained, and no other."""
        self.assertEqual(column(section(DOCS / "explanation" / "presence.md", "States"), "state"), set(State))
