"""The part of the JSON API that is about rightsizing."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from perfmon.core.globs import pattern
from perfmon.core.notes import MAX_NOTE
from perfmon.core.rightsizing import PROFILES, Settings
from perfmon.core.tiers import DAY, parse_duration
from perfmon.core.timespec import parse_time
from perfmon.web.asking import Backend, asked, body_of
from perfmon.web.http import Call, HttpError, Route, bad_request

WINDOW = "14d"
MIN_WINDOW, MAX_WINDOW = 60.0, 400.0 * DAY  # s

_USUAL = Settings()

_PARAMETERS = frozenset({"host", "window", "min_history", "profile", "threshold"})


class RightsizingApi:
    """The handlers, and their routes."""

    def __init__(self, backend: Backend, wall: Callable[[], float]) -> None:
        """`wall` gives the time in s since the epoch."""
        self._backend = backend
        self._wall = wall

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/rightsizing", self._report, _PARAMETERS),
            Route("POST", "/api/v1/hosts/{host}/rightsizing", self._note),
        ]

    async def _report(self, call: Call) -> Any:
        given = call.parameters
        window = _duration("window", given.get("window", WINDOW))
        if not MIN_WINDOW <= window <= MAX_WINDOW:
            raise bad_request(f"window is {MIN_WINDOW:g} s to {MAX_WINDOW / DAY:g} d")
        # a window that was asked for is to be enough, if it is shorter than what is usual
        usual = min(_USUAL.min_history, window)
        least = _duration("min_history", given["min_history"]) if "min_history" in given else usual
        if least > window:
            raise bad_request("min_history is longer than the window: no host could have as much")
        profile = given.get("profile", _USUAL.profile)
        if profile not in PROFILES:
            raise bad_request(f"profile is one of {', '.join(PROFILES)}")
        settings = Settings(least, profile, _threshold(given.get("threshold", f"{_USUAL.threshold * 100:g}")))
        host = given.get("host", "*")
        try:
            pattern(host)
        except ValueError as problem:
            raise bad_request(f"host: {problem}") from None
        return await asked(self._backend, self._backend.rightsizing(host, window, settings))

    async def _note(self, call: Call) -> Any:
        body, host = body_of(call), call.path["host"]
        if unknown := body.keys() - {"note", "dismiss"}:
            raise bad_request(f"field {min(unknown)[:40]!r} is unknown: note, dismiss")
        note = body.get("note")
        if note is not None and (not isinstance(note, str) or len(note) > MAX_NOTE or not note.isprintable()):
            raise bad_request(f"note is a text of at most {MAX_NOTE} printable characters")
        if "note" not in body and "dismiss" not in body:
            raise bad_request("give a note, a text, or dismiss, a time (null takes it back), or both")
        dismissed = self._dismissed(body.get("dismiss"))
        if not await asked(self._backend, self._backend.hosts(host, "-")):
            raise HttpError(HTTPStatus.NOT_FOUND, f"no host {host[:40]!r}")
        kept = await asked(self._backend, self._backend.note(host, note, dismissed, "dismiss" in body))
        return {"host": host, "note": kept.text, "dismissed": kept.dismissed}

    def _dismissed(self, given: Any) -> float | None:
        """Until when; a duration is one from now."""
        if given is None:
            return None
        now = self._wall()
        try:
            until = now + parse_duration(str(given)) if not isinstance(given, int | float) else float(given)
        except ValueError:
            try:
                until = parse_time(str(given), now)
            except ValueError:
                raise bad_request("dismiss is a time, or how long, such as 30d") from None
        if until <= now:
            raise bad_request("dismiss is a time from now on")
        return until


def _duration(name: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as problem:
        raise bad_request(f"{name}: {problem}") from None


def _threshold(text: str) -> float:
    """Percent, as a share."""
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 < percent <= 100:
        raise bad_request("threshold is the percentage of the CPU below which a host is idle, such as 10")
    return percent / 100
