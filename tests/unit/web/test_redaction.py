"""What a log line may hold: identifiers, enumerations, numbers."""

from __future__ import annotations

import json
import logging
from enum import Enum
from uuid import uuid4

import pytest
import structlog

from seawall.web import logs
from seawall.web.redaction import is_card, scrubbed, value_of

CARD = "4111 1111 1111 1111"
TOKEN = "bW9yZS10aGFuLXR3ZW50eS1mb3Vy-X9"


class Kind(Enum):
    REFUND = "refund"


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com", "+44 20 7946 0958", "(555) 010-9988", CARD, CARD.replace(" ", "-"), CARD.replace(" ", ""),
        f"Bearer {TOKEN}", TOKEN, "password=hunter2", "token: abc", "GB82 WEST 1234 5698 7654 32",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
    ],
)  # fmt: skip
def test_what_has_a_shape_is_taken_out_of_text(text: str) -> None:
    said = scrubbed(f"sent to {text} today")
    assert text not in said
    assert said.startswith("sent to ")
    assert said.endswith(" today")


@pytest.mark.parametrize(
    "text",
    [
        "Application startup complete.", "Uvicorn running on http://127.0.0.1:8000", "2026-11-24", "in 1234 ms",
        "seawall_restaurant_app_main", "GET /orders/{order_id}", "8d3aae29-9fdd-4b7d-9782-996fe75411ad",
        "0af7651916cd43dd8448eb211c80319c",
    ],
)  # fmt: skip
def test_ordinary_lines_stay(text: str) -> None:
    assert scrubbed(text) == text


def test_a_password_in_an_url_is_taken_out() -> None:
    assert "hunter2" not in scrubbed("postgresql://seawall_app:hunter2@db/shop")


def test_values_are_kept_by_type_and_field() -> None:
    identity = uuid4()
    assert value_of("order_id", identity) == str(identity)
    assert value_of("anything", str(identity)) == str(identity)
    assert value_of("anything", Kind.REFUND) == "refund"
    assert value_of("count", 3) == 3
    assert value_of("reason", "state-mismatch") == "state-mismatch"
    assert value_of("customer", "Olivia") == "[text of 6]"
    assert value_of("reason", "Olivia Marsh of 3 Old Quay") == "[text of 26]"
    assert value_of("number", 4111111111111111) == "[redacted]"
    assert value_of("trace_id", "4111111111111111") == "[redacted]"
    assert value_of("anything", "4111111111111111") == "[text of 16]"
    assert value_of("order", {"recipient": "Olivia"}) == "[dict]"
    assert value_of("names", ["Olivia"]) == ["[text of 6]"]


def test_cards_are_told_by_their_check_digit() -> None:
    assert is_card("4111111111111111")
    assert not is_card("4111111111111112")
    assert not is_card("1795503446770")


def test_a_library_s_arguments_are_values(capsys) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        logs.configure(production=True)
        logging.getLogger("library").warning("could not deliver to %s after %d tries", "Olivia Marsh", 3)
        logging.getLogger("library").warning("%(who)s is away", {"who": "Olivia"})
        logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: <Task exception=X('Olivia')>")
        structlog.get_logger("app").info(f"mail to {'olivia@example.com'}", customer="Olivia", order_id=uuid4())
    finally:
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0]["event"] == "could not deliver to [text of 12] after 3 tries"
    assert not any("livia" in str(line) for line in lines)
    assert len(lines) == 4
