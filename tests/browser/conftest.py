"""Leaves out the tests of the page where there is no browser; CI installs one, and leaves out nothing."""

from tests.programs import CHROMIUM

collect_ignore_glob = [] if CHROMIUM is not None else ["test_*.py"]


def pytest_report_header() -> list[str]:
    return [] if CHROMIUM is not None else ["no Chromium is installed, so the page is not tested in a browser"]
