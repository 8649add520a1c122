"""The judge's own eyes: what the web controls must notice, and what they must not."""

from __future__ import annotations

import httpx2
import pytest

from seawall_check.controls._calls import leaks
from seawall_check.controls.web.csrf import attacks, lookalikes
from seawall_check.controls.web.errors import problem_faults, trace_in_log
from seawall_check.controls.web.headers import Scripts, common_faults, nonce_bits, nonce_of, policy_faults
from seawall_check.controls.web.injection import _leaves, markup_faults

STRICT = (
    "default-src 'none'; script-src 'nonce-AAAAAAAAAAAAAAAAAAAAAA=='; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'; img-src 'self' data:"
)
GOOD = {
    "content-security-policy": STRICT,
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}


def answer(headers: dict[str, str] | list[tuple[str, str]], **more) -> httpx2.Response:
    return httpx2.Response(more.pop("status", 200), headers=headers, **more)


def test_good_headers_have_no_fault() -> None:
    assert common_faults(answer(GOOD), https=True) == []
    assert nonce_of(answer(GOOD)) == "AAAAAAAAAAAAAAAAAAAAAA=="


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strict-transport-security", "max-age=3600; includeSubDomains"),
        ("strict-transport-security", "max-age=63072000"),
        ("x-content-type-options", ""),
        ("x-frame-options", "ALLOW-FROM https://a.example"),
        ("cross-origin-opener-policy", "unsafe-none"),
        ("referrer-policy", "unsafe-url"),
        ("permissions-policy", "camera=*"),
        ("cache-control", "private"),
        ("server", "uvicorn"),
    ],
)
def test_a_weak_header_is_a_fault(name, value) -> None:
    assert common_faults(answer({**GOOD, name: value}), https=True)


@pytest.mark.parametrize(
    "policy",
    [
        "default-src 'none'",
        STRICT.replace("script-src ", "script-src 'unsafe-inline' "),
        STRICT.replace("script-src ", "script-src https: "),
        STRICT.replace("default-src 'none'", "default-src *"),
        STRICT.replace("base-uri 'none'", "base-uri *"),
        STRICT.replace("frame-ancestors 'none'", "frame-ancestors https://a.example"),
        STRICT.replace("form-action 'self'; ", ""),
        "script-src 'unsafe-eval'; " + STRICT,  # the first of two directives counts
        STRICT + "; style-src 'self' 'unsafe-inline'",
    ],
)
def test_a_weak_policy_is_a_fault(policy) -> None:
    assert policy_faults(answer({"content-security-policy": policy}))


def test_of_two_policies_neither_is_believed() -> None:
    assert policy_faults(answer([("content-security-policy", STRICT), ("content-security-policy", STRICT)]))
    assert policy_faults(answer({}))


@pytest.mark.parametrize(
    ("nonce", "bits"), [("AAAAAAAAAAAAAAAAAAAAAA", 128), ("abc", 16), ("A-_A", 24), ("é", 0), ("", 0), ("A", 0)]
)
def test_nonce_bits(nonce, bits) -> None:
    assert nonce_bits(nonce) == bits


def test_inline_code_is_seen() -> None:
    page = Scripts(
        "<p onclick='x()'><a href=' JavaScript:x()'><i style='a'><script nonce=n></script><script>x</script>"
    )
    assert page.nonces == ["n", ""]
    assert len(page.inline) == 3
    assert Scripts("<a href='/one' class=x><input name=only>").inline == []


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last):",
        'File "/srv/shop/api.py", line 3',
        "SELECT id FROM app.orders WHERE",
        'relation "x" does not exist',
        "asyncpg.exceptions.UniqueViolationError",
        "ValueError: nope",
    ],
)
def test_leaks_are_seen(text) -> None:
    assert leaks(text)


def test_our_own_words_are_no_leak() -> None:
    assert leaks('{"title":"Something went wrong","detail":"It has been recorded.","code":"internal"}') == []


def test_problem_faults() -> None:
    good = {"type": "a", "title": "b", "status": 404, "code": "c", "trace_id": "d"}
    kind = {"content-type": "application/problem+json"}
    assert problem_faults(httpx2.Response(404, json=good, headers=kind)) == []
    assert problem_faults(httpx2.Response(404, json=good))
    assert problem_faults(httpx2.Response(400, json=good, headers=kind))
    assert problem_faults(httpx2.Response(404, json={**good, "trace_id": ""}, headers=kind))


def test_a_trace_without_its_place_does_not_count() -> None:
    assert trace_in_log("x abc\n seawall_check_planted.py:3 crash", "abc")
    assert not trace_in_log("x abc\n elsewhere", "abc")
    assert not trace_in_log("seawall_check_planted.py:3", "")


@pytest.mark.parametrize(
    "html",
    [
        "<script>w()</script>",
        '<p title=""><img src=x onerror=w()>',
        "<p title='' onmouseover='w()'>",
        "</title><svg/onload=w()>",
        "w1337{% if 1 %}",
    ],
)
def test_live_markup_is_seen(html) -> None:
    assert markup_faults(html, "w")


@pytest.mark.parametrize(
    "html",
    [
        "<p>&lt;script&gt;w()&lt;/script&gt;</p>",
        '<input value="&#34;&gt;&lt;img src=x onerror=w()&gt;">',
        '<input value="&#39; onmouseover=&#39;w()">',
        "w{{7*191}}{% if 1 %}",
    ],
)
def test_escaped_markup_is_text(html) -> None:
    assert markup_faults(html, "w") == []


@pytest.mark.parametrize(
    ("step", "leaves"),
    [
        ("/orders", False),
        ("https://localhost:1/x", False),
        ("//evil.example/", True),
        ("/\\evil.example", True),
        ("/\t/evil.example", True),
        ("https://localhost:1@evil.example/", True),
        ("http://localhost:1.evil.example/", True),
        ("javascript:alert(1)", True),
    ],
)
def test_where_a_browser_would_go(step, leaves) -> None:
    assert _leaves("https://localhost:1", step) is leaves


def test_no_attack_is_our_own_origin() -> None:
    origin = "https://shop.example:8443"
    assert origin not in lookalikes(origin)
    honest = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert all(headers != honest for _, headers in attacks(origin))
