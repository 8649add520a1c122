"""What a value looks like that somebody meant to hide, and that everybody can find out again."""

from __future__ import annotations

import base64
import codecs
import hashlib
import re

ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b")
PREFIX_BYTES = 12
"""Of a hash: it may be stored cut short. No random bytes agree in as many."""
TEXT_LENGTH_MIN = 10


def disguises(value: str) -> dict[str, bytes]:
    """Bytes that give `value` away, by how it is hidden: written in another way, or hashed without a key.

    A hash is no secret: all telephone numbers there are can be hashed in an hour.
    """
    forms = {"": value, "lower case ": value.lower(), "digits ": re.sub(r"[^0-9]", "", value)}
    texts = {what: text for what, text in forms.items() if len(text) >= TEXT_LENGTH_MIN}
    found: dict[str, bytes] = {}
    for what, text in texts.items():
        plain = text.encode()
        found |= {
            f"{what}in base64": base64.b64encode(plain).rstrip(b"=")[:-1],
            f"{what}in hexadecimal": plain.hex().encode(),
            f"{what}in UTF-16": text.encode("utf-16-le"),
            f"{what}backwards": plain[::-1],
            f"{what}with its bits flipped": bytes(one ^ 0xFF for one in plain),
        }
        if any(letter.isalpha() for letter in text):
            found[f"{what}in ROT13"] = codecs.encode(text, "rot13").encode()
        for algorithm in ALGORITHMS:
            digest = hashlib.new(algorithm, plain, usedforsecurity=False).digest()[:PREFIX_BYTES]
            found[f"{what}as {algorithm}"] = digest
            found[f"{what}as {algorithm} in hexadecimal"] = digest.hex().encode()
            found[f"{what}as {algorithm} in base64"] = base64.b64encode(digest)
    return found
