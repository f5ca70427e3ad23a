"""The OpenAPI document: what it says, and that nothing which fits it makes the server fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS

from clipkit import Collection
from clipkit_server.application import application
from clipkit_server.keys import Keys
from tests.server_site import png, service

schema = schemathesis.pytest.from_fixture("api")
NO_5XX = [CHECKS.get_one("not_a_server_error")]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    db = tmp_path_factory.mktemp("db")
    collection = Collection.create(db=db, encoder="fake", columns={"album": str})
    collection.add_images([png("red")], ids=["red"])
    served = service(models={"fake": "fake", "bundled": "fake"}, db=str(db))
    yield schemathesis.openapi.from_asgi("/openapi.json", application(served, hosts=("testserver",)))
    served.close()


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_sent_is_never_answered_with_a_failure_of_the_server(case: Any) -> None:
    response = case.call()
    assert response.status_code < 500, response.text
    case.validate_response(response, checks=NO_5XX)


def document(keys: Keys | None = None) -> dict[str, Any]:
    app = application(service(), keys=keys)
    while not hasattr(app, "openapi"):
        app = getattr(app, "_app", None) or app.app
    found: dict[str, Any] = app.openapi()
    return found


def test_the_document_reads_well() -> None:
    found = document()
    paths = found["paths"]
    assert set(paths) == {
        "/v1/embeddings",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/search",
        "/v1/describe",
        "/v1/classify",
        "/v1/collections",
        "/v1/collections/{name}",
        "/v1/collections/{name}/items",
        "/v1/collections/{name}/thumbnail",
        "/health/live",
        "/health/ready",
    }
    operations = [operation for path in paths.values() for operation in path.values()]
    assert all(operation["summary"] for operation in operations)
    assert not [operation for operation in operations if "422" in operation["responses"]]
    assert "HTTPValidationError" not in found["components"]["schemas"]
    request = found["components"]["schemas"]["EmbeddingRequest"]
    assert set(request["required"]) == {"model", "input"}
    assert request["properties"]["input"]["examples"]
    assert request["properties"]["dimensions"]["description"]


def test_the_document_says_that_a_key_is_needed_where_one_is() -> None:
    found = document(Keys.of(["correct-horse-battery-staple"], source="a test"))
    assert found["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    assert found["paths"]["/v1/embeddings"]["post"]["security"] == [{"key": []}]
    assert "security" not in found["paths"]["/health/live"]["get"]
    assert "securitySchemes" not in document()["components"]
