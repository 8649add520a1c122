"""The proof of origin, on the decision table of the two headers."""

from __future__ import annotations

import pytest
from tests.support.web import COOKIE, ask

from seawall.core.errors import Forbidden
from seawall.web.csrf import prove

OURS = b"https://shop.example"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({b"cookie": b"a=b"}, False),
        ({b"cookie": b"a=b", b"origin": OURS}, True),
        ({b"cookie": b"a=b", b"sec-fetch-site": b"same-origin"}, True),
        ({b"cookie": b"a=b", b"sec-fetch-site": b"same-origin", b"origin": OURS}, True),
        ({b"origin": b"null"}, False),
        ({b"origin": b""}, False),
        ({b"origin": b"https://evil.example"}, False),
        ({b"origin": b"http://shop.example"}, False),
        ({b"origin": b"https://shop.example:444"}, False),
        ({b"origin": b"https://shop.example.evil.example"}, False),
        ({b"origin": b"https://SHOP.example"}, False),
        ({b"sec-fetch-site": b"cross-site"}, False),
        ({b"sec-fetch-site": b"same-site"}, False),
        ({b"sec-fetch-site": b"none"}, False),
        ({b"sec-fetch-site": b"same-origin", b"origin": b"https://evil.example"}, False),
        ({b"sec-fetch-site": b"cross-site", b"origin": OURS}, False),
    ],
)
def test_unsafe_methods(method, headers, allowed) -> None:
    if allowed:
        prove(method, headers, OURS)
    else:
        with pytest.raises(Forbidden) as refusal:
            prove(method, headers, OURS)
        assert refusal.value.problem_code == "csrf"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_need_none(method) -> None:
    prove(method, {b"cookie": b"a=b", b"sec-fetch-site": b"cross-site"}, OURS)


async def test_a_cross_site_post_reaches_nothing(wall) -> None:
    app, runtime = wall
    answer = await ask(app, "/write", method="POST", headers={**COOKIE, "sec-fetch-site": "cross-site"})
    assert (answer.status, answer.json()["code"], runtime.log) == (403, "csrf", [])


async def test_a_method_override_overrides_nothing(wall) -> None:
    app, runtime = wall
    headers = {**COOKIE, "x-http-method-override": "POST", "x-method-override": "POST"}
    answer = await ask(app, "/write?_method=POST", headers=headers)
    assert answer.status == 200
    assert runtime.log == ["begin", ("commit", 1)]  # the GET handler ran, nothing else
