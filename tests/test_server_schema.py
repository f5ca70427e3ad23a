"""The OpenAPI document: what it says, and that nothing which fits it makes the server fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy, booleans, one_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from clipkit import Collection
from clipkit_server.application import application
from clipkit_server.keys import Keys
from tests.server_site import png, service, serving

OPERATIONS = (
    "POST /v1/embeddings",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "POST /v1/search",
    "POST /v1/describe",
    "POST /v1/classify",
    "GET /v1/collections",
    "GET /v1/collections/{name}",
    "POST /v1/collections/{name}/items",
    "DELETE /v1/collections/{name}/items",
    "GET /v1/collections/{name}/thumbnail",
    "GET /health/live",
    "GET /health/ready",
)
EXAMPLES = 30
CHECKED = [not_a_server_error, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    db = tmp_path_factory.mktemp("db")
    collection = Collection.create(db=db, encoder="fake", columns={"album": str})
    collection.add_images([png("red")], ids=["red"])
    served = service(models={"fake": "fake", "bundled": "fake"}, db=str(db))
    with serving(served) as site:
        yield schemathesis.openapi.from_url(f"{site.url}/openapi.json")


@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_is_sent_is_never_answered_with_a_failure_of_the_server(api: Any, name: str) -> None:
    method, path = name.split()
    operation = api[path][method]

    # Not by schemathesis's own decorator, which reaches into an older pytest.
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=sent(operation), aims=booleans())
    def check(case: Any, aims: bool) -> None:
        response = (aimed(case) if aims else case).call()
        assert response.status_code < 500, response.text
        if response.content == b"Invalid HTTP request received.":
            return  # uvicorn's own words for a head of more than 64 kB, before the server sees it
        case.validate_response(response, checks=CHECKED)

    check()


def aimed(case: Any) -> Any:
    """The case, but of the collection that there is: by chance, none would be named."""
    if "name" in (case.path_parameters or {}):
        case.path_parameters["name"] = "default"
    if isinstance(case.body, dict):
        case.body.pop("collection", None)
    return case


def sent(operation: Any) -> SearchStrategy[Any]:
    """What fits the document, and what just does not."""
    right, wrong = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
    return one_of([operation.as_strategy(generation_mode=mode) for mode in (right, wrong)])


def document(keys: Keys | None = None) -> dict[str, Any]:
    app = application(service(), keys=keys)
    while not hasattr(app, "openapi"):
        app = getattr(app, "_app", None) or app.app
    found: dict[str, Any] = app.openapi()
    return found


def test_the_document_reads_well() -> None:
    found = document()
    paths = found["paths"]
    assert {f"{method.upper()} {path}" for path in paths for method in paths[path]} == set(OPERATIONS)
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
