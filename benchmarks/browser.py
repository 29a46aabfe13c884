"""The page in a browser: how soon something is painted, how soon a fleet can be used, and what that takes to transfer.

Each load is a new profile of Chromium, so nothing is cached. A fleet can be used when its first rows are there and the
filter has found its last host. What is transferred counts as it is sent, packed, until then and for half a second more,
in which the small charts of the rows in sight are filled.

python benchmarks/browser.py [--agents 5000] [--loads 5]
"""

import argparse
import shlex
import statistics
import sys
import time
from typing import Any

from common import end, machine, pause, versions
from pages import fleet
from playwright.sync_api import Browser, sync_playwright
from throughput import collector

ALLOWED_PAINT, ALLOWED_USABLE, ALLOWED_KB = 0.3, 2.0, 150  # s, s

ROWS = "#hosts tbody tr:not(.space)"
PAINT = "performance.getEntriesByType('paint').find(({ name }) => name === 'first-contentful-paint')?.startTime"


def load(browser: Browser, url: str, last: str) -> tuple[float, float, float]:
    """(s until the first paint, s until the fleet can be used, kB) of one load."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    network: Any = context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: list[float] = []
    network.on("Network.dataReceived", lambda data: sizes.append(data["encodedDataLength"]))
    begun = time.monotonic()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(ROWS)
    page.locator("#search").fill(last)
    while page.locator(ROWS).count() != 1:
        pause(0.01)
    usable = time.monotonic() - begun
    paint = page.evaluate(PAINT) / 1000
    page.wait_for_timeout(500)
    context.close()
    return paint, usable, sum(sizes) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=5_000, help="each with 100 metrics every 10 s (default 5000)")
    parser.add_argument("--loads", type=int, default=5, help="of the page (default 5)")
    given = parser.parse_args()
    print(f"machine   {machine()}\nversions  {versions()}\ncommand   {shlex.join(sys.argv)}")
    with collector() as one, sync_playwright() as playwright:
        simulator = fleet(one, one.folder, given.agents)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            pause(12.0)  # a round of each, and the burst of the beginning
            url = f"http://127.0.0.1:{one.http_port}/"
            loads = [load(browser, url, f"sim{given.agents:05}") for _ in range(given.loads)]
        finally:
            browser.close()
            end(simulator)
    paint, usable, kilobytes = (sorted(column) for column in zip(*loads, strict=True))
    for name, figures, unit, allowed in (
        ("first paint", paint, "s", ALLOWED_PAINT),
        ("usable", usable, "s", ALLOWED_USABLE),
        ("transferred", kilobytes, "kB", ALLOWED_KB),
    ):
        middle = statistics.median(figures)
        print(
            f"{name:12}{middle:8.2f} {unit} median, {figures[-1]:.2f} at most, of {len(figures)} (allowed {allowed:g})"
        )


if __name__ == "__main__":
    main()
