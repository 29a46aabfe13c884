"""What a real collector answers is what its OpenAPI document says."""

import time
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from tests.integration.harness import Collector, IntegrationTestCase, eventually

QUERIES = {
    "/api/v1/query": {"metric": "*"},
    "/api/v1/hosts/{host}/export": {"format": "ndjson"},
    "/api/v1/benchmarks/{id}/output": {"host": "web1"},
    "/api/v1/rightsizing": {"window": "60s"},
}
BODIES = {
    "/api/v1/benchmarks": {"kind": "cpu", "hosts": "web1", "parameters": {"seconds": 1}},
    "/api/v1/hosts/{host}/interval": {"interval": 5},
    "/api/v1/hosts/{host}/absence": {"for": "2h"},
    "/api/v1/hosts/{host}/rightsizing": {"note": "of the shop", "dismiss": "30d"},
    "/api/v1/samples": {"host": "script", "samples": [{"metric": "x", "value": 1}, {"metric": "a b", "value": 1}]},
}


def strict(schema: Any) -> Any:
    """The same, and no field that is not told of."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(each) for name, each in schema.items()}
    return found | {"additionalProperties": False} if "properties" in schema else found


class OpenApiTests(IntegrationTestCase):
    benchmark = ""  # id of the one that was begun

    def test_answers(self) -> None:
        """Every operation is answered as it says, and what is wrong as an error."""
        collector = self.collector("--name", "self", "--interval", "200ms").ready()
        self.agent(collector, "web1", "--label", "role=db")
        collector.send(f"mail1.queue 1 {int(time.time())}\n")
        for host, metric in (("self", "system.uptime"), ("web1", "system.uptime"), ("mail1", "queue")):
            eventually(lambda host=host, metric=metric: collector.points(host, metric), f"samples of {host}")  # type: ignore[misc]  # mypy infers no lambda with defaults
            eventually(lambda host=host: collector.state(host) == "up", f"{host} to be known")  # type: ignore[misc]  # mypy infers no lambda with defaults
        document = collector.get("/api/v1/openapi.json")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if method != "delete":
                    self.check(collector, document, path, method, operation)

    def check(self, collector: Collector, document: Any, path: str, method: str, operation: Any) -> None:
        body, kind = (orjson.dumps(BODIES.get(path, {})), "application/json") if method == "post" else (None, "")
        asked = path.replace("{host}", "web1").replace("{id}", self.benchmark)
        if path.endswith(("/export", "/plain", "/live")):
            return  # no JSON
        status, answer = collector.ask(asked, body, kind, **QUERIES.get(path, {}))
        self.assertEqual(status, 200, (path, answer))
        if (method, path) == ("post", "/api/v1/benchmarks"):
            self.benchmark = answer["id"]
            self.store(collector)("HSET", f"pm:run:{self.benchmark}:output", "web1", '{"fio version": "fio-3.33"}')
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        self.valid(document, schema, answer, path)
        if operation["parameters"] or method == "post":
            status, answer = collector.ask(asked, body and b"[", kind, nonsense="1")
            self.assertIn(str(status), operation["responses"], path)
            self.valid(document, {"$ref": "#/components/schemas/Error"}, answer, path)

    def valid(self, document: Any, schema: Any, answer: Any, path: str) -> None:
        validator = Draft202012Validator(strict({**schema, "components": document["components"]}))
        problems = [f"{problem.json_path}: {problem.message[:200]}" for problem in validator.iter_errors(answer)]
        self.assertEqual(problems, [], path)
