"""Leaves out the tests of the page where there is no browser; CI has to have one, and leaves out nothing."""

import os

from tests.programs import CHROMIUM

_LEFT_OUT = CHROMIUM is None and not os.environ.get("CI")

collect_ignore_glob = ["test_*.py"] if _LEFT_OUT else []


def pytest_report_header() -> list[str]:
    return ["no Chromium is installed, so the page is not tested in a browser"] if _LEFT_OUT else []
