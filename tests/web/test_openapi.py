"""Tests for `perfmon.web.openapi`. tests/integration/test_openapi.py holds it against a real collector."""

from openapi_spec_validator import validate
from twisted.trial.unittest import SynchronousTestCase

from perfmon.web.api import JsonApi
from perfmon.web.openapi import OPERATIONS, PARAMETERS, document
from perfmon.web.schemas import SCHEMAS
from tests.web.fakes import NOW, ApiTestCase, StandIn


class DocumentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.routes = JsonApi(StandIn(), lambda: NOW).routes()
        self.document = document(self.routes, "1.2.3")

    def test_valid(self) -> None:
        """It is a document of OpenAPI."""
        validate(self.document)
        self.assertEqual(self.document["info"]["version"], "1.2.3")

    def test_routes(self) -> None:
        """Every route is in it, with its parameters and whether it needs the token; and nothing else is."""
        found = {
            (method.upper(), path): operation
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
        }
        self.assertEqual(set(found), {(route.method, route.path) for route in self.routes})
        self.assertEqual(set(OPERATIONS), set(found))
        for route in self.routes:
            operation = found[route.method, route.path]
            in_query = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
            self.assertEqual(in_query, route.parameters, route.path)
            self.assertEqual(operation["security"] == [], route.open, route.path)
            self.assertEqual("requestBody" in operation, route.method == "POST", route.path)

    def test_nothing_left_over(self) -> None:
        """Every parameter is one of some route, and every schema is referred to."""
        self.assertEqual(set(PARAMETERS), set().union(*(route.parameters for route in self.routes)))
        text = repr(self.document)
        self.assertEqual([name for name in SCHEMAS if f"#/components/schemas/{name}'" not in text], [])


class ServedTests(ApiTestCase):
    def test_served(self) -> None:
        """It is answered as the routes are, to anybody: there is nothing of anybody in it."""
        answer = self.ask("/api/v1/openapi.json")
        self.assertEqual((answer.status, answer.json["openapi"]), (200, "3.1.0"))
        self.assertEqual(self.backend.asked, [])
