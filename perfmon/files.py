"""How many connections the system lets this process have."""

import resource

# Those of the process itself: logs, the store, the page's clients, the probes.
_OWN = 256


def allow_connections(wanted: int) -> int:
    """Raises the limit of open files as far as it may be; returns how many connections fit, at most `wanted`.

    On Linux a process gets 1,024 files by default, and may have half a million.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + _OWN
    if soft != resource.RLIM_INFINITY and soft < files:
        raised = files if hard == resource.RLIM_INFINITY else min(files, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (ValueError, OSError):  # macOS: more than its kernel has
            pass
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _OWN))
