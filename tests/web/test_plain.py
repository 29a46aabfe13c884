"""Tests for the plain page, and for how it asks for the token."""

from base64 import b64encode
from http import HTTPStatus
from typing import Any

from tests.web.fakes import TOKEN, ApiTestCase, Away, SiteTestCase, described
from tests.web.test_page import Markup


class PlainTests(ApiTestCase):
    def page(self, *hosts: dict[str, Any]) -> str:
        self.backend.answers["hosts"] = list(hosts)
        answer = self.ask("/plain")
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        return answer.body.decode()

    def test_hosts(self) -> None:
        """Each host has its row, with what is known of it; those to look at come first."""
        latest = {
            "perfmon.cpu.utilization": {"value": 0.256},
            "perfmon.memory.utilization": {"value": 1},
            "system.cpu.load_average.1m": {"value": 3},
        }
        page = self.page(
            described("web1", latest=latest, labels={"role": "db", "row": "2"}),
            described("a1"),
            described("web2", "departed", reason="connection reset"),
        )
        rows = [line for line in page.splitlines() if line.startswith("<tr>")]
        self.assertEqual([row.split("<td>")[2].removesuffix("</td>") for row in rows], ["web2", "a1", "web1"])
        for words, row in (
            (("departed", "connection reset", "2026-10-18 07:59:58 UTC"), rows[0]),
            (("up", "role=db, row=2", "25.6%", "100.0%", "3.00", "2026-10-18 07:59:00 UTC"), rows[2]),
        ):
            for word in words:
                self.assertIn(f">{word}<", row)
        self.assertIn("<title>(1 departed) perfmon</title>", page)
        self.assertIn("1 departed, 2 up", page)
        self.assertNotIn("banner", page)

    def test_text_is_text(self) -> None:
        """Whatever hosts are called and say of themselves, it is no markup."""
        page = self.page(described("a&b", reason="<b>", labels={"<i>": '"&'}, state="up"))
        self.assertFalse({"b", "i"} & {tag for tag, _ in Markup(page).elements})
        self.assertIn("a&amp;b", page)

    def test_none(self) -> None:
        self.assertIn("No host yet", self.page())

    def test_problem(self) -> None:
        """What is wrong with the store is told, and without it there is an error."""
        self.backend.problem = "it has no memory left"
        self.assertIn('<p class="banner">it has no memory left</p>', self.page(described("web1")))
        self.backend.answers["hosts"] = Away("connection refused")
        self.assertEqual(self.ask("/plain").status, HTTPStatus.SERVICE_UNAVAILABLE)


class TokenTests(SiteTestCase):
    token = TOKEN

    def asked(self, authorization: bytes, path: str = "/plain") -> Any:
        return self.ask(path, headers={"Authorization": authorization.decode("latin-1")})

    def test_password(self) -> None:
        """The token is taken as a password, with any user name, and as ever; nothing else is."""
        for good in (b"Basic " + b64encode(f"ann:{TOKEN}".encode()), b"Basic " + b64encode(f":{TOKEN}".encode())):
            self.assertEqual(self.asked(good).status, HTTPStatus.OK)
        self.assertEqual(self.asked(f"Bearer {TOKEN}".encode()).status, HTTPStatus.OK)
        for bad in (b"", b"Basic", b"Basic x", b"Basic " + b64encode(TOKEN.encode()), b"Basic " + b64encode(b"ann:no")):
            answer = self.asked(bad)
            self.assertEqual(answer.status, HTTPStatus.UNAUTHORIZED, bad)
            self.assertTrue(answer.headers["www-authenticate"].startswith("Basic realm="))

    def test_only_here(self) -> None:
        """No other path takes it so: a browser would send it along with what other sites make it ask for."""
        basic = b"Basic " + b64encode(f"ann:{TOKEN}".encode())
        answer = self.asked(basic, "/api/v1/hosts")
        self.assertEqual((answer.status, answer.headers["www-authenticate"]), (HTTPStatus.UNAUTHORIZED, "Bearer"))
