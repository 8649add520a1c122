"""Requests made from an OpenAPI document, and forms read from a page."""

from __future__ import annotations

from typing import Any

import pytest

from seawall_check.probes.http import Operation, filled, operations, sample, with_canary
from seawall_check.sign_in import Page

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/orders/{order_id}": {
            "parameters": [{"in": "path", "name": "order_id", "schema": {"type": "string", "format": "uuid"}}],
            "get": {"parameters": [{"in": "query", "name": "q", "schema": {"type": "string"}}]},
            "post": {
                "operationId": "change",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/In"}}}},
            },
        }
    },
    "components": {
        "schemas": {
            "In": {
                "type": "object",
                "required": ["note", "amount", "kind", "inner", "maybe", "currency"],
                "properties": {
                    "note": {"type": "string", "maxLength": 200},
                    "amount": {"type": "integer", "exclusiveMinimum": 0},
                    "kind": {"enum": ["big", "small"]},
                    "inner": {"$ref": "#/components/schemas/Inner"},
                    "maybe": {"anyOf": [{"type": "string", "minLength": 9}, {"type": "null"}]},
                    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                    "optional": {"type": "string"},
                },
            },
            "Inner": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Inner"}},
        }
    },
}


@pytest.fixture
def change() -> Operation:
    return next(one for one in operations(DOCUMENT) if one.method == "POST")


def test_operations_are_named_by_method_and_path() -> None:
    assert [one.name for one in operations(DOCUMENT)] == ["GET /orders/{order_id}", "POST /orders/{order_id}"]


def test_a_path_is_filled_and_escaped(change: Operation) -> None:
    assert change.url({"order_id": "a/../b?"}) == "/orders/a%2F..%2Fb%3F"
    assert change.url() == "/orders/00000000-0000-4000-8000-000000000000"


def test_a_sample_body_fits_its_schema_and_a_schema_that_holds_itself_ends(change: Operation) -> None:
    body = change.sample_body()
    assert (body["note"], body["amount"], body["kind"], body["currency"]) == ("sample", 1, "big", "USD")
    assert len(body["maybe"]) >= 9
    assert "optional" not in body
    assert isinstance(body["inner"], list)


def test_canaries_go_into_free_text_only(change: Operation) -> None:
    body, planted = with_canary(change, {"note": "x", "amount": 1, "currency": "USD", "kind": "big"}, "canary")
    assert planted
    assert body == {"note": "canary", "amount": 1, "currency": "USD", "kind": "big"}
    assert with_canary(change, {"amount": 1}, "canary") == ({"amount": 1}, False)


def test_placeholders_become_ids() -> None:
    stated = {"lines": [{"dish_id": "{dish_id}", "quantity": 2}], "user_id": "{user_id}"}
    objects = {"dish_id": ("d1", "d2")}
    assert filled(stated, objects) == {"lines": [{"dish_id": "d1", "quantity": 2}], "user_id": "{user_id}"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 3}, 3),
        ({"type": ["string", "null"]}, "sample"),
        ({"type": "boolean"}, False),
        ({"type": "number", "minimum": 2.5}, 2.5),
        ({"allOf": [{"type": "object", "required": ["a"], "properties": {"a": {"const": 1}}}]}, {"a": 1}),
        ({"$ref": "#/nowhere"}, "sample"),
    ],
)
def test_samples(schema: dict[str, Any], value: object) -> None:
    assert sample(schema, {}) == value


def test_a_page_tells_its_forms_and_where_it_goes() -> None:
    page = Page(
        '<form action="/in" method=post><input type=hidden name=state value=s><input name=email>'
        '<input type=checkbox name=keep value=1></form><a href="/next">n</a>'
        '<meta http-equiv="refresh" content="0; url=\'/home\'">'
    )
    form = page.form_with("email")
    assert form is not None
    assert (form.action, form.method, form.fields) == ("/in", "POST", {"state": "s", "email": ""})
    assert page.onward == "/home"
    assert page.links == ["/next"]
    assert Page("<script>location.replace('/a')</script>").onward == "/a"
    assert Page("<p>nothing</p>").onward is None
