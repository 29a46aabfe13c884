"""What the command lines of twistd have in common: a TOML file, durations, the token."""

import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from getopt import GetoptError, getopt
from pathlib import Path
from typing import Any, TypeVar

from twisted.python import usage

_T = TypeVar("_T")

# A shorter one could be guessed by trying.
MIN_TOKEN = 16  # characters

HOW_TO_TOKEN = (
    'make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))" > token; chmod 600 token '
    "and give --token-file token to the collector and to every agent"
)


class ConfigurableOptions(usage.Options):
    """Options that may also stand in a TOML file, under their long names.

    A file is a prefix of the command line: what is written there can be given again, and then counts.
    """

    optParameters = [["config", "c", None, "TOML file of options, by long names; the command line wins, lists add up"]]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        words = list(sys.argv[1:] if options is None else options)
        path = self._config_in(words)
        super().parseOptions([*self._words_of(path), *words] if path is not None else words)

    def _config_in(self, words: list[str]) -> str | None:
        """The value of --config in a command line, in whatever way it is spelled there."""
        try:
            given, _ = getopt(words, self.shortOpt, self.longOpt)
        except GetoptError:
            return None  # will be told of by parseOptions
        return dict(given).get("--config", dict(given).get("-c"))

    def _words_of(self, path: str) -> list[str]:
        """The options of the file `path` as words of a command line."""
        try:
            with open(path, "rb") as file:
                table = tomllib.load(file)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
            raise usage.UsageError(f"--config {path}: {problem}") from None
        words: list[str] = []
        for name, value in table.items():
            option = name.replace("_", "-")
            if option not in self._takes_value or option == "config":
                raise usage.UsageError(f"--config {path}: there is no option {name!r}")
            for one in value if isinstance(value, list) else [value]:
                if self._takes_value[option]:
                    if isinstance(one, bool | dict):
                        raise usage.UsageError(f"--config {path}: {name} needs a value")
                    words += [f"--{option}", str(one)]
                elif one is True:
                    words.append(f"--{option}")
                elif one is not False:
                    raise usage.UsageError(f"--config {path}: {name} is true or false")
        return words

    @property
    def _takes_value(self) -> dict[str, bool]:
        """Each long option, and whether a value follows it."""
        return {option.rstrip("="): option.endswith("=") for option in self.longOpt}

    def checked(self, name: str, parse: Callable[[str], _T]) -> _T:
        """The value of an option, parsed. Raises UsageError with the option's name and what was wrong."""
        try:
            return parse(self[name])
        except ValueError as problem:
            raise usage.UsageError(f"--{name}: {problem}") from None

    def token(self) -> str:
        """What stands in --token-file, empty without one."""
        path = self["token-file"]
        if not path:
            return ""
        try:
            token = Path(path).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise usage.UsageError(f"--token-file {path}: {problem}") from None
        if len(token) < MIN_TOKEN or not token.isprintable():
            raise usage.UsageError(
                f"--token-file {path}: a token has at least {MIN_TOKEN} printable characters; {HOW_TO_TOKEN}"
            )
        return token


def at_least(least: float, parse: Callable[[str], float]) -> Callable[[str], float]:
    """`parse`, refusing numbers below `least`."""

    def parsed(text: str) -> float:
        number = parse(text)
        if not number >= least:
            raise ValueError(f"{text} is below {least:,.12g}")
        return number

    return parsed


def at_most(most: float, parse: Callable[[str], float]) -> Callable[[str], float]:
    """`parse`, refusing numbers above `most`."""

    def parsed(text: str) -> float:
        number = parse(text)
        if not number <= most:
            raise ValueError(f"{text} is above {most:g}")
        return number

    return parsed


def whole(text: str) -> int:
    """A whole number."""
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)


def size(text: str) -> float:
    """Bytes in ``"64MiB"``, ``"1.5G"``, ``"4096"``: K, M, G and T, with iB or B or without, are powers of 1,024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write a number of bytes, or one with KiB, MiB, GiB, for example 64MiB")
    power = "KMGT".index(match[2][0].upper()) + 1 if match[2] else 0
    return float(match[1]) * float(1024**power)


def port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65_535:
        raise ValueError(f"{text!r} is no port: 0 to 65535")
    return number


def pairs(words: Sequence[str]) -> dict[str, str]:
    """``["k=v", ...]`` as a dictionary. Raises ValueError."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r}: write NAME=VALUE")
        found[name] = value
    return found
