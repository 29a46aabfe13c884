"""Tests for options in a TOML file, of each tap."""

from typing import Any

from perfmon import agent_tap, server_tap, simulator_tap
from perfmon.host import own_name
from perfmon.options import ConfigurableOptions
from tests.test_options import OptionsCase

_CLIENTS: tuple[type[ConfigurableOptions], ...] = (agent_tap.Options, simulator_tap.Options)

# Options that say the contrary of others.
_EITHER: dict[type[ConfigurableOptions], set[str]] = {simulator_tap.Options: {"rate", "token-file"}}


class FileTests(OptionsCase):
    """Options in a TOML file."""

    def settings(self) -> dict[type[ConfigurableOptions], dict[str, Any]]:
        """For each option of each command line a value that is not its default."""
        token = self.token_file()
        return {
            server_tap.Options: {
                "port": 7000,
                "http-port": 7001,
                "interface": "127.0.0.2",
                "listen": ["unix:/a", "unix:/b"],
                "http-listen": ["unix:/c"],
                "store": "embedded:/s",
                "store-sync": "always",
                "token-file": token,
                "heartbeat-timeout": "30s",
                "silence-timeout": 60,
                "max-connections": 5,
                "batch-size": 1000,
                "batch-time": "50ms",
                "name": "monitor",
                "interval": 2.5,
                "stats-interval": "1m",
                "retention": "raw:1d",
                "benchmark-retention": "30d",
                "benchmark-port": 5300,
                "prices": self.file("core = 1\ngib = 1", "prices.toml"),
                "no-self": True,
                "graphite-template": ["a.HOST", "b.HOST"],
                "graphite-from": "10.0.0.0/8",
            },
            agent_tap.Options: {
                "server": ["other:9000", "third:9000"],
                "name": "web1",
                "interval": "1m",
                "token-file": token,
                "label": ["rack=7", "row=2"],
                "spool": "/var/spool",
                "spool-size": "1GiB",
                "spool-age": "1h",
                "benchmark-limit": "5m,1GiB",
                "benchmark-folder": "/scratch",
                "benchmark-port": 5300,
                "benchmark-address": "192.0.2.7:53",
                "no-benchmarks": True,
            },
            simulator_tap.Options: {
                "server": "other:9000",
                "agents": 7,
                "metrics": 20,
                "interval": "1m",
                "rate": 50,
                "idle-share": 0.5,
                "seed": 4,
                "duration": "1h",
                "prefix": "fleet-",
                "token-file": token,
                "graphite": True,
            },
        }

    def parsed(self, kind: type[Any], *words: str) -> Any:
        options = kind()
        options.parseOptions(["--server=monitor:9000", *words] if kind in _CLIENTS else words)
        return options.config

    def written(self, name: str, value: Any) -> str:
        """A line of TOML."""
        if isinstance(value, list):
            return f"{name} = [{', '.join(self.written('', one)[3:] for one in value)}]"
        if isinstance(value, bool):
            return f"{name} = {str(value).lower()}"
        return f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"

    def words(self, name: str, value: Any) -> list[str]:
        """The same on a command line."""
        if value is True:
            return [f"--{name}"]
        return [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]

    def test_every_option(self) -> None:
        """Every option may stand in the file, spelled with - or _, and means what it means on the command line."""
        for kind, settings in self.settings().items():
            known = {option.rstrip("=") for option in kind().longOpt} - {"config", "help", "version"}
            self.assertEqual(known, settings.keys(), "an option is not tested, or there no more")
            for name, value in settings.items():
                expected = self.parsed(kind, *self.words(name, value))
                for spelled in (name, name.replace("-", "_")):
                    if kind in _CLIENTS and name == "server":
                        continue  # the command line of these tests has it, and wins
                    path = self.file(self.written(spelled, value))
                    self.assertEqual(self.parsed(kind, f"--config={path}"), expected, spelled)
                if name not in ("port", "http-port", "interface", "server"):
                    self.assertNotEqual(expected, self.parsed(kind), f"{name} has no effect")

    def test_all_at_once(self) -> None:
        """All options may stand in one file."""
        for kind, all_settings in self.settings().items():
            settings = {name: value for name, value in all_settings.items() if name not in _EITHER.get(kind, ())}
            path = self.file("\n".join(self.written(name, value) for name, value in settings.items()))
            words = [word for name, value in settings.items() for word in self.words(name, value)]
            options, expected = kind(), kind()
            options.parseOptions(["--config", path])
            expected.parseOptions(words)
            self.assertEqual(options.config, expected.config)  # type: ignore[attr-defined]  # each kind sets it

    def test_spellings(self) -> None:
        """However --config is spelled on the command line, the file is read."""
        path = self.file('name = "monitor"')
        for words in (
            ("--config", path),
            (f"--config={path}",),
            ("-c", path),
            (f"-c{path}",),
            ("--conf", path),
            (f"--conf={path}",),
            ("--no-self", "-c", path),
            ("--store", "unix:--config", "-c", path),
        ):
            options = server_tap.Options()
            options.parseOptions(words)
            self.assertEqual(options["name"], "monitor", words)

    def test_not_config(self) -> None:
        """The value of another option is not taken for --config."""
        problem = self.refused("--store", "--config")
        self.assertTrue(problem.startswith("--store"), problem)

    def test_command_line_wins(self) -> None:
        """What stands on the command line counts, wherever --config stands."""
        path = self.file('name = "monitor"\ninterval = 7')
        for words in (("--config", path, "--name", "other"), ("--name", "other", "--config", path)):
            config = self.server(*words)
            self.assertEqual((config.own_host, config.interval), ("other", 7.0))

    def test_flag(self) -> None:
        """A flag is true or false."""
        self.assertEqual(self.server("-c", self.file("no-self = true")).own_host, "")
        self.assertEqual(self.server("-c", self.file("no-self = false")).own_host, own_name())
        for value in ('"yes"', "1", "[1]"):
            problem = self.refused("-c", self.file(f"no-self = {value}"))
            self.assertIn("no-self is true or false", problem)

    def test_wrong_types(self) -> None:
        """A value of a kind that no option has is refused, and its option is named."""
        for value in ("true", "false", "{a = 1}", "[true]", "[{a = 1}]"):
            problem = self.refused("-c", self.file(f"port = {value}"))
            self.assertIn("port needs a value", problem)

    def test_unknown(self) -> None:
        """A name that is no option is refused; so is another file."""
        for name in ("prot", "config", "Port"):
            path = self.file(f"{name} = 1")
            self.assertEqual(self.refused("-c", path), f"--config {path}: there is no option {name!r}")
        path = self.file("[server]\nport = 1")
        self.assertEqual(self.refused("-c", path), f"--config {path}: there is no option 'server'")

    def test_unreadable(self) -> None:
        """A file that is not there, or no TOML, is refused in a sentence that names it."""
        for path, sentence in (
            (str(self.folder / "none"), "No such file"),
            (str(self.folder), "Is a directory"),
            (self.file("port 9000"), "line 1"),
        ):
            problem = self.refused("-c", path)
            self.assertTrue(problem.startswith(f"--config {path}: "), problem)
            self.assertIn(sentence, problem)
        (self.folder / "binary").write_bytes(b"\xff\xfe")
        self.assertIn("--config", self.refused("-c", str(self.folder / "binary")))

    def test_bad_value(self) -> None:
        """A bad value of the file is refused as one of the command line is."""
        self.assertEqual(self.refused("-c", self.file("interval = 0.01")), "--interval: 0.01 is below 0.1")

    def test_incomplete(self) -> None:
        """A --config without its file is refused by its name."""
        self.assertIn("config", self.refused("--config"))
