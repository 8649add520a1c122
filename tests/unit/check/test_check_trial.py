"""The verdict follows from the evidence, and the evidence holds no secrets."""

from __future__ import annotations

import hashlib

import httpx2
import pytest

from seawall_check.redact import ARTIFACT_READ_CHARS
from seawall_check.trial import EVIDENCE_MAX, Trial


def answer(status: int, **headers: str) -> httpx2.Response:
    request = httpx2.Request("GET", "https://app.test/x?code=abcdef&page=2", headers={"Cookie": "sid=topsecret1"})
    return httpx2.Response(status, request=request, headers=headers, text="body")


def test_nothing_tried_is_unproven() -> None:
    assert Trial().verdict() == ("unproven", "nothing was tried")


def test_an_allow_and_its_refusal_pass() -> None:
    trial = Trial()
    assert trial.allow("mine", answer(200))
    assert trial.refuse("theirs", answer(404))
    assert trial.verdict() == ("pass", "")


def test_a_refusal_without_an_allow_is_unproven() -> None:
    trial = Trial()
    trial.refuse("theirs", answer(403))
    assert trial.verdict() == ("unproven", "no allow succeeded before this refusal: theirs")


def test_a_refusal_before_its_allow_does_not_count() -> None:
    trial = Trial()
    trial.refuse("theirs", answer(403))
    trial.allow("mine", answer(200))
    assert trial.verdict()[0] == "unproven"


def test_a_refusal_needs_the_allow_of_its_own_claim() -> None:
    trial = Trial()
    trial.allow("read mine", answer(200), of="read")
    trial.refuse("refund theirs", answer(403), of="refund")
    assert trial.verdict()[0] == "unproven"
    trial.allow("refund mine", answer(200), of="refund")
    assert trial.verdict()[0] == "unproven"


def test_an_app_that_refuses_everybody_is_unproven() -> None:
    trial = Trial()
    trial.allow("mine", answer(403))
    trial.refuse("theirs", answer(403))
    verdict, why = trial.verdict()
    assert (verdict, why) == ("unproven", "the allow did not succeed: mine: 403 Forbidden (and 1 more)")


@pytest.mark.parametrize("status", [200, 302, 500])
def test_anything_but_a_refusal_fails(status: int) -> None:
    trial = Trial()
    trial.allow("mine", answer(200))
    trial.refuse("theirs", answer(status))
    assert trial.verdict()[0] == "fail"


def test_a_fail_outweighs_what_could_not_be_tried() -> None:
    trial = Trial()
    trial.unproven("no courier")
    trial.expect("policy", expected="one", observed="none", ok=False)
    assert trial.verdict() == ("fail", "policy: expected one, observed none")


def test_one_thing_not_tried_is_unproven() -> None:
    trial = Trial()
    trial.expect("policy", expected="one", observed="one", ok=True)
    trial.unproven("no courier")
    assert trial.verdict() == ("unproven", "no courier")


def test_what_is_no_response_needs_a_judgement() -> None:
    with pytest.raises(TypeError):
        Trial().allow("rows", 3)


def test_artifacts_are_redacted_and_hashed() -> None:
    trial = Trial()
    trial.redactor.learn("topsecret2")
    response = answer(200, **{"Set-Cookie": "sid=topsecret3; HttpOnly", "X-Echo": "topsecret2"})
    trial.allow("mine", response)
    (digest, text), *_ = trial.artifacts.items()
    assert digest == trial.evidence[0].artifact_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert "topsecret" not in text
    assert "abcdef" not in text
    assert "HttpOnly" in text
    assert "page=2" in text


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hush-hush",
        '{"password": "hush-hush"}',
        "token eyJhbGciOiJub25lIn0.eyJodXNoLWh1c2gifQ.",
        "POST /t\n\ncode_verifier=hush-hush&x=1",
        '{"otpauth_uri": "otpauth://totp/x?secret=hush-hush"}',
    ],
)
def test_secrets_are_redacted_by_their_shape(text: str) -> None:
    clean = Trial().redactor.text(text)
    assert "hush-hush" not in clean
    assert "eyJodXNo" not in clean


def test_a_secret_inside_another_leaves_nothing_of_the_longer_one() -> None:
    redactor = Trial().redactor
    redactor.learn("hush-hush")
    redactor.learn("hush-hush-and-more")
    assert "more" not in redactor.text("it is hush-hush-and-more")


@pytest.mark.parametrize("before", range(ARTIFACT_READ_CHARS - 12, ARTIFACT_READ_CHARS + 2))
@pytest.mark.parametrize("filler", ["x", "other-secret "])
def test_no_half_of_a_secret_is_left_where_a_long_artifact_is_cut(before: int, filler: str) -> None:
    redactor = Trial().redactor
    redactor.learn("hush-hush", "other-secret")
    shown = redactor.artifact((filler * before)[:before] + "hush-hush" + " after" * 2_000)
    assert "hus" not in shown
    assert f"of {before + 9 + 12_000} characters" in shown


def test_evidence_is_bounded_but_keeps_what_did_not_hold() -> None:
    trial = Trial()
    for _ in range(EVIDENCE_MAX + 10):
        trial.expect("ok", expected="1", observed="1", ok=True)
    trial.expect("not", expected="1", observed="2", ok=False)
    assert len(trial.evidence) == EVIDENCE_MAX + 1
    assert trial.verdict()[0] == "fail"
