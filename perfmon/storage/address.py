"""Where the store is, as written in ``--store``."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

STORE_HELP = "write embedded:DIR, unix:PATH, redis://[user:password@]host:port/db or rediss://..."

# When what the embedded store has confirmed is safe from a loss of power: after a second or so, or at once.
SYNCS = ("everysec", "always")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A server to connect to, or (`directory` set) one to start."""

    endpoint: str  # a Twisted client endpoint description
    shown: str  # for logs and /status: without the password
    directory: Path | None = None
    user: str = ""
    password: str = ""
    database: int = 0


def parse_store(text: str) -> StoreAddress:
    """Reads a ``--store`` value. Raises ValueError with a sentence for the person who wrote it."""
    scheme, colon, rest = text.partition(":")
    if scheme == "embedded" and rest:
        directory = Path(rest).expanduser().absolute()
        return StoreAddress("", f"embedded:{directory}", directory)
    if scheme == "unix" and rest:
        path = Path(rest).expanduser().absolute()
        return StoreAddress(f"unix:path={_escaped(str(path))}", f"unix:{path}")
    if scheme in ("redis", "rediss") and colon:
        return _parse_url(text)
    # what stands before an @ may be a password
    raise ValueError(f"--store {text.rpartition('@')[2]!r}: {STORE_HELP}")


def _parse_url(text: str) -> StoreAddress:
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 6379
        database = int(url.path.strip("/") or 0)
    except ValueError:
        host, port, database = None, 0, -1
    if not host or database < 0 or (url.username and not url.password):
        raise ValueError(f"--store: no such address: {STORE_HELP}")
    kind = "tls" if url.scheme == "rediss" else "tcp"
    if kind == "tls" and ":" in host:  # Twisted's tls endpoint takes none
        raise ValueError("--store: rediss:// needs the host's name or IPv4 address")
    shown = f"[{host}]" if ":" in host else host
    return StoreAddress(
        f"{kind}:{_escaped(host)}:{port}",
        f"{url.scheme}://{shown}:{port}/{database}",
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        database=database,
    )


def _escaped(text: str) -> str:
    """`text` as one argument of an endpoint description."""
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
