"""Programs of others that some tests use.

The bundled Valkey is always there. Debian's redis-server, collectd and chromium are used where they are installed; CI
installs them and sets CI, and there a test whose program is missing fails.
"""

import os
import shutil

from perfmon.storage.embedded import find_server


def required(program: str) -> str | None:
    """Path of `program`; None where it is not installed and need not be. In CI its name, so that its use fails."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or (
        program if os.environ.get("CI") else None
    )


STORE_SERVERS: dict[str, str] = {"valkey": find_server()}
if (_redis := required("redis-server")) is not None:
    STORE_SERVERS["redis"] = _redis

COLLECTD = required("collectd")

# A browser for the page.
CHROMIUM = required("chromium")
