"""Bodies that differ in one member: what may be added to them, and what of them may be another."""

from __future__ import annotations

from typing import Any

from seawall_check.controls._factor import altered
from seawall_check.controls.access._calls import widened
from seawall_check.probes.http import Operation

LINE = {"type": "object", "properties": {"dish": {"type": "string"}, "quantity": {"type": "integer"}}}
BODY = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "total": {"type": "integer"},
        "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
        "gift": {"anyOf": [{"$ref": "#/components/schemas/Line"}, {"type": "null"}]},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
OPERATION = Operation("POST", "/orders", body=BODY, document={"components": {"schemas": {"Line": LINE}}})
SENT: dict[str, Any] = {
    "note": "soon",
    "currency": "USD",
    "total": 5,
    "lines": [{"dish": "soup"}, {"dish": "tea"}],
    "gift": {"dish": "cake"},
    "labels": {"any": "thing"},
}


def test_a_member_is_added_wherever_an_object_has_a_closed_form() -> None:
    found = dict(widened(OPERATION, SENT, "price", 1))
    assert sorted(found) == ["gift.price", "lines.0.price", "lines.1.price", "price"]
    assert found["lines.1.price"]["lines"] == [{"dish": "soup"}, {"dish": "tea", "price": 1}]
    assert "price" not in SENT["lines"][1]


def test_a_member_that_is_known_there_is_not_added() -> None:
    assert sorted(dict(widened(OPERATION, SENT, "quantity", 1))) == ["quantity"]


def test_numbers_and_free_texts_are_altered() -> None:
    found = altered(OPERATION, SENT)
    assert sorted(found) == ["note", "total"]
    assert found["total"] == {**SENT, "total": 6}
    assert found["note"]["note"] != "soon"
