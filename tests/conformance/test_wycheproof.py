"""The verifier against the Wycheproof vectors (C2SP/wycheproof, Apache-2.0), every one of them."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from seawall.identity.jose import KeySet, NotVerified, read_header

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SEAWALL_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / "wycheproof"

DEFECTS = {
    346: "the key is for PS256 only, the token says PS384",
    347: "the key's alg is ES521, which does not exist",
    350: "the key is for PS256 only, the token says PS384",
    351: "the key's alg is ES521, which does not exist",
    367: "byte for byte the valid vector 357, marked invalid",
    370: "byte for byte the valid vector 357, marked invalid",
    372: "marked valid, but holds a '?', which is not base64url",
    373: "marked valid, but holds a '?', which is not base64url",
}
"""Where the corpus contradicts itself or the RFCs; what it says there is not followed."""


def vectors(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    path = DATA / f"{name}.json"
    if not path.exists():
        pytest.skip(f"the Wycheproof vectors are not beside the repository ({path})")
    groups = json.loads(path.read_text())["testGroups"]
    return [(group.get("public") or group.get("private"), test) for group in groups for test in group["tests"]]


def verdict(key: dict[str, Any], token: str) -> str:
    jwks = key.get("keys", [key])
    algorithms = {jwk["alg"] for jwk in jwks if "alg" in jwk}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joserfc on algorithms that we do not use ourselves
            KeySet(jwks).verify(token, algorithms)
    except NotVerified:
        return "invalid"
    return "valid"


def wrong(name: str) -> dict[int, str]:
    return {
        test["tcId"]: f"{test['comment']}: {found}, not {test['result']}"
        for key, test in vectors(name)
        if (found := verdict(key, test["jws"])) != test["result"]
    }


def test_signatures() -> None:
    found = wrong("jws")
    assert found.keys() == DEFECTS.keys(), found
    assert len(vectors("jws")) - len(found) == 393


def test_keys() -> None:
    assert not wrong("jwk")
    assert len(vectors("jwk")) == 26


def test_the_defects_are_the_corpus_own() -> None:
    by_id = {test["tcId"]: (key, test) for key, test in vectors("jws")}
    assert by_id[367][1]["jws"] == by_id[370][1]["jws"] == by_id[357][1]["jws"]
    assert by_id[357][1]["result"] == "valid" != by_id[367][1]["result"]
    assert all(by_id[n][0]["alg"] == "PS256" != read_header(by_id[n][1]["jws"])["alg"] for n in (346, 350))
    assert all(by_id[n][0]["alg"] == "ES521" for n in (347, 351))
    assert all("?" in by_id[n][1]["jws"] for n in (372, 373))
