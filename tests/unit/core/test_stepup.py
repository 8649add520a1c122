"""The digest of an intent: the same for the same action, another for anything else."""

from __future__ import annotations

import pytest

from seawall.core.stepup import Intent, Resume

INTENT = Intent("refund", 'Order::"1"', {"amount_minor": 10_100, "currency": "USD"})


def test_order_summary_and_form_do_not_matter() -> None:
    same = Intent("refund", 'Order::"1"', {"currency": "USD", "amount_minor": 10_100}, "words", Resume("/x", {}))
    assert same.digest == INTENT.digest
    assert len(INTENT.digest) == 32


@pytest.mark.parametrize(
    "other",
    [
        Intent("refund", 'Order::"1"', {"amount_minor": 90_000, "currency": "USD"}),
        Intent("refund", 'Order::"2"', {"amount_minor": 10_100, "currency": "USD"}),
        Intent("void", 'Order::"1"', {"amount_minor": 10_100, "currency": "USD"}),
        Intent("refund", 'Order::"1"', {"amount_minor": 10_100, "currency": "EUR"}),
        Intent("refund", 'Order::"1"', {"amount_minor": "10100", "currency": "USD"}),
        Intent("refund", 'Order::"1"', {"amount_minor": 10_100, "currency": "USD", "reason": ""}),
    ],
)
def test_anything_else_is_another_intent(other: Intent) -> None:
    assert other.digest != INTENT.digest
