"""Tests for `perfmon.web.rightsizing`."""

from http import HTTPStatus
from typing import Any

import orjson

from perfmon.core.rightsizing import Settings
from perfmon.core.tiers import DAY
from tests.web.fakes import NOW, Answer, ApiTestCase, Away, described

PATH = "/api/v1/rightsizing"


class ReportTests(ApiTestCase):
    def test_parameters(self) -> None:
        """Two weeks and what is usual, unless something else is asked for; a shorter window is enough by itself."""
        for query, asked in (
            ("", ("*", 14 * DAY, Settings(7 * DAY, "normal", 0.1))),
            ("?host=web*&window=30d&profile=safe&threshold=3", ("web*", 30 * DAY, Settings(7 * DAY, "safe", 0.03))),
            ("?window=5m", ("*", 300.0, Settings(300.0))),
            ("?window=5m&min_history=90s", ("*", 300.0, Settings(90.0))),
            ("?window=14d&min_history=1h", ("*", 14 * DAY, Settings(3_600.0))),
        ):
            self.assertEqual(self.ask(PATH + query).json, {"hosts": []})
            self.assertEqual(self.backend.asked.pop(), ("rightsizing", *asked), query)

    def test_bad(self) -> None:
        """What cannot be asked is refused in a sentence."""
        for query, words in (
            ("window=soon", "window: 'soon' is no duration"),
            ("window=59s", "window is 60 s to 400 d"),
            ("window=401d", "window is 60 s to 400 d"),
            ("min_history=much", "min_history: 'much' is no duration"),
            ("min_history=15d", "min_history is longer than the window"),
            ("profile=brave", "profile is one of safe, normal, bold"),
            ("threshold=0", "threshold is the percentage"),
            ("threshold=101", "threshold is the percentage"),
            ("threshold=nan", "threshold is the percentage"),
            ("threshold=few", "threshold is the percentage"),
            ("host=" + "x" * 2_000, "host: pattern over"),
        ):
            self.assert_bad(self.ask(f"{PATH}?{query}"), words)
        self.assertEqual(self.backend.asked, [])

    def test_store_away(self) -> None:
        """While the store is away it is said."""
        self.backend.answers["rightsizing"] = Away("connection refused")
        self.assert_refused(self.ask(PATH), HTTPStatus.SERVICE_UNAVAILABLE, "connection refused")


class NoteTests(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.backend.answers["hosts"] = [described("web1")]

    def note(self, **body: Any) -> Answer:
        return self.post(orjson.dumps(body), path="/api/v1/hosts/web1/rightsizing")

    def test_whole(self) -> None:
        """A note, a dismissal for so long or until then, or both; null takes it back."""
        for body, asked in (
            ({"note": "mine"}, ("mine", None, False)),
            ({"note": ""}, ("", None, False)),
            ({"dismiss": "30d"}, (None, NOW + 30 * DAY, True)),
            ({"dismiss": NOW + 60}, (None, NOW + 60, True)),
            ({"dismiss": "2100-01-01"}, (None, 4_102_444_800.0, True)),
            ({"dismiss": None}, (None, None, True)),
            ({"note": "mine", "dismiss": "1d"}, ("mine", NOW + DAY, True)),
        ):
            answer = self.note(**body)
            self.assertEqual(answer.json, {"host": "web1", "note": "mine", "dismissed": None})
            self.assertEqual(self.backend.asked.pop(), ("note", "web1", *asked), body)

    def test_bad(self) -> None:
        """What makes no sense is refused, and nothing is noted."""
        for body, words in (
            ({}, "give a note"),
            ({"text": "x"}, "'text' is unknown"),
            ({"note": 7}, "note is a text"),
            ({"note": "a\nb"}, "note is a text"),
            ({"note": "x" * 501}, "at most 500"),
            ({"dismiss": "soon"}, "dismiss is a time"),
            ({"dismiss": NOW - 1}, "from now on"),
            ({"dismiss": True}, "dismiss is a time"),
            ({"dismiss": "2001-01-01"}, "from now on"),
        ):
            self.assert_bad(self.note(**body), words)
        self.assertEqual([asked for asked in self.backend.asked if asked[0] == "note"], [])
        self.backend.answers["hosts"] = []
        self.assert_refused(self.note(note="x"), HTTPStatus.NOT_FOUND, "no host 'web1'")
