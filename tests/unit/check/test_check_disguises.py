"""What a planted value is looked for as."""

from __future__ import annotations

import base64
import hashlib

from seawall_check.controls._marks import Marks
from seawall_check.controls.privacy._disguises import disguises

PHONE = "+1 555 01234567890123"
DIGITS = "155501234567890123"


def test_a_hash_without_a_key_is_found_when_it_is_cut_short_and_when_the_value_was_tidied_up() -> None:
    stored = hashlib.sha256(DIGITS.encode()).digest()[:16]
    assert [how for how, held in disguises(PHONE).items() if held in stored] == ["digits as sha256"]


def test_base64_is_found_in_the_middle_of_more() -> None:
    stored = b"v1:" + base64.b64encode(b"sealed0123456789ab") + b";"
    assert "in base64" in [how for how, held in disguises("sealed0123456789ab").items() if held in stored]


def test_an_address_is_found_as_it_stands_in_paths() -> None:
    marks = Marks.fresh()
    assert marks.within(f"GET /orders/{marks.mail.replace('@', '%40')} 404") == ["name", "mail"]
    assert marks.within("GET /orders/100%25 404") == []
