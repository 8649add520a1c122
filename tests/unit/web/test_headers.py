"""Headers of every kind of answer, and the policy's own words."""

from __future__ import annotations

import base64
import re

import pytest
from tests.support.web import COOKIE, HTML, ask

from seawall.web.headers import DATA_POLICY, FIXED, sealed


def directives(policy: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (part.split() for part in policy.split(";"))}


@pytest.mark.parametrize("path", ["/page", "/data", "/undecided", "/no", "/seawall/static/seawall.css", "/private"])
async def test_every_answer_carries_them(wall, path) -> None:
    app, _ = wall
    answer = await ask(app, path)
    assert {name: answer.header(name) for name in FIXED} == FIXED
    assert answer.header("content-security-policy")
    assert re.fullmatch(r"[0-9a-f]{32}", answer.header("x-trace-id"))
    assert answer.header("server") == ""


async def test_a_page_has_a_fresh_nonce_and_nothing_unsafe(wall) -> None:
    app, _ = wall
    nonces = set()
    for _ in range(20):
        answer = await ask(app, "/page", headers=HTML)
        policy = directives(answer.header("content-security-policy"))
        (script,) = policy["script-src"]
        nonce = script.removeprefix("'nonce-").removesuffix("'")
        assert len(base64.urlsafe_b64decode(nonce)) >= 16
        assert f"<i>{nonce}</i>".encode() in answer.body
        assert f'nonce="{nonce}"'.encode() in answer.body
        nonces.add(nonce)
        assert policy["default-src"] == policy["object-src"] == policy["base-uri"] == ["'none'"]
        assert policy["frame-ancestors"] == ["'none'"]
        assert "unsafe" not in answer.header("content-security-policy")
    assert len(nonces) == 20


async def test_data_may_run_nothing(wall) -> None:
    app, _ = wall
    assert (await ask(app, "/data")).header("content-security-policy") == DATA_POLICY
    assert "nonce-" in (await ask(app, "/raw-html")).header("content-security-policy")


async def test_caching_is_for_public_answers_only(wall) -> None:
    app, _ = wall
    assert (await ask(app, "/data")).header("cache-control") == "no-store"
    assert (await ask(app, "/cached")).header("cache-control") == "public, max-age=60"
    assert (await ask(app, "/private", headers=COOKIE)).header("cache-control") == "no-store"
    assert (await ask(app, "/nowhere")).header("cache-control") == "no-store"


def test_a_cookie_is_never_cached() -> None:
    app_headers = [(b"Cache-Control", b"public"), (b"Set-Cookie", b"a=b")]
    headers = sealed(app_headers, nonce="n", trace_id="t", cacheable=True)
    assert (b"cache-control", b"no-store") in headers
    headers = sealed([(b"Cache-Control", b"public")], nonce="n", trace_id="t", cookies=["a=b"], cacheable=True)
    assert (b"cache-control", b"no-store") in headers


async def test_an_app_cannot_weaken_them(wall) -> None:
    app, _ = wall
    answer = await ask(app, "/cached", headers={"origin": "https://evil.example"})
    assert answer.header("access-control-allow-origin") == ""
    assert answer.header("server") == ""
    weak = [(b"Content-Security-Policy", b"x"), (b"X-Frame-Options", b"ALLOW"), (b"Strict-Transport-Security", b"0")]
    values = dict(sealed(weak, nonce="n", trace_id="t"))
    assert values[b"x-frame-options"] == b"DENY"
    assert b"Content-Security-Policy" not in values
