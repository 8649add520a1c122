"""Messages that are refused before the app's code runs."""

from __future__ import annotations

import pytest
from tests.support.web import JSON, ORIGIN, ask, make_app

from seawall.core.errors import Refused

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_matching_allows(wall) -> None:
    app, _ = wall
    noted = await ask(app, "/notes", method="POST", headers=JSON, body=b'{"text":"\\u00e9\\n\\ud83d\\ude00"}')
    assert (noted.status, noted.json()["text"]) == (200, "é\n😀")
    utf8 = {"content-type": 'application/json; charset="UTF-8"'}
    assert (await ask(app, "/notes", method="POST", headers=utf8, body=[b'{"tex', b't":"a"}'])).status == 200
    formed = await ask(app, "/forms", method="POST", headers=FORM, body=b"text=a%20%C3%A9")
    assert (formed.status, formed.body.decode()) == (200, "a é")
    chunked = {**JSON, "transfer-encoding": "chunked"}
    assert (await ask(app, "/notes", method="POST", headers=chunked, body=b'{"text":"a"}', length=False)).status == 200


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "text/plain; application/json", "multipart/form-data; boundary=x", "application/xml",
     "application/json; charset=utf-16", "application/jsonx", "image/svg+xml"],
)  # fmt: skip
async def test_other_content_types_are_refused(wall, kind) -> None:
    app, _ = wall
    headers = {"content-type": kind} if kind else {}
    answer = await ask(app, "/notes", method="POST", headers=headers, body=b'{"text":"a"}')
    assert (answer.status, answer.json()["code"]) == (415, "wrong-content-type")


async def test_a_body_over_the_limit_is_not_read_on(tmp_path) -> None:
    app, _ = make_app(tmp_path, body_max_bytes=2_000)
    declared = await ask(app, "/notes", method="POST", headers=JSON, body=b"x" * 2_001)
    assert (declared.status, declared.read) == (413, 0)
    streamed = {**JSON, "transfer-encoding": "chunked"}
    answer = await ask(app, "/notes", method="POST", headers=streamed, body=[b"x" * 900] * 50, length=False)
    assert (answer.status, answer.read) == (413, 3)
    lying = {**JSON, "content-length": "10"}
    answer = await ask(app, "/notes", method="POST", headers=lying, body=[b"x" * 900] * 50, length=False)
    assert (answer.status, answer.read) == (413, 3)
    fits = b'{"text":"' + b"x" * (2_000 - 11) + b'"}'
    assert (await ask(app, "/notes", method="POST", headers=JSON, body=fits)).status == 200


@pytest.mark.parametrize(("length", "status"), [("3", 400), ("99", 400), ("-1", 400), ("1e3", 400), ("9" * 30, 400)])
async def test_a_wrong_length_is_refused(wall, length, status) -> None:
    app, _ = wall
    headers = {**JSON, "content-length": length}
    answer = await ask(app, "/notes", method="POST", headers=headers, body=b'{"text":"a"}', length=False)
    assert (answer.status, answer.json()["code"]) == (status, "wrong-length")


async def test_a_client_that_leaves_is_not_answered(wall) -> None:
    app, runtime = wall
    headers = {**JSON, "content-length": "12"}
    answer = await ask(app, "/notes", method="POST", headers=headers, disconnect=True, length=False)
    assert (answer.status, answer.error, runtime.log) == (0, None, [])


async def test_a_slow_body_is_given_up(wall, monkeypatch) -> None:
    app, _ = wall
    monkeypatch.setattr("seawall.web.intake.BODY_READ_TIMEOUT_S", 0.02)

    async def never() -> dict:
        import asyncio

        await asyncio.sleep(5)
        return {}

    async def patient(scope, receive, send) -> None:
        await app(scope, never, send)

    assert (await ask(patient, "/notes", method="POST", headers=JSON, body=b"{}")).status == 408


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b'{"text":"a\\u0000b"}'),
        (JSON, b'{"text":"a\x00b"}'),
        (JSON, b'{"text":"\xff"}'),
        (JSON, b'{"text":"\\uDC00x"}'),
        (FORM, b"text=a%00b"),
        (FORM, b"text=a%ffb"),
    ],
)
async def test_nul_and_broken_utf8_in_a_body(wall, headers, body) -> None:
    app, _ = wall
    assert (await ask(app, "/notes", method="POST", headers=headers, body=body)).status == 400


@pytest.mark.parametrize(
    "raw",
    [b"/data%00", b"/data%0d%0aX: y", b"/%ff", b"/%c0%ae", b"/a%2fb", b"/a%5Cb", b"/a\\b", b"/../data", b"/a/%2e%2e/b",
     b"/\x7f"],
)  # fmt: skip
async def test_bad_paths(wall, raw) -> None:
    app, _ = wall
    assert (await ask(app, "/data", raw_path=raw)).status == 400


@pytest.mark.parametrize("query", ["a=%00", "a=\x00", "a=%ff", "a=b\x0d"])
async def test_bad_queries(wall, query) -> None:
    app, _ = wall
    assert (await ask(app, f"/data?{query}")).status == 400


async def test_text_in_queries_is_fine(wall) -> None:
    app, _ = wall
    assert (await ask(app, "/data?a=%C3%A9%0D%0Ax+y&b=%2F..")).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("x-a", "a\r\nb: c")], 400),
        ([("x-a", "a\x00")], 400),
        ([("x-a", "\xff")], 400),
        ([("host", "shop.localhost")], 400),
        ([("origin", ORIGIN), ("origin", ORIGIN)], 400),
        ([("content-length", "0"), ("content-length", "1")], 400),
        ([("content-length", "2"), ("transfer-encoding", "chunked"), ("content-type", "application/json")], 400),
        ([(f"x-{n}", "y" * 1000) for n in range(20)], 431),
        ([("x-a", "tab\tis fine")], 200),
    ],
)
async def test_headers(wall, headers, status) -> None:
    app, _ = wall
    answer = await ask(app, "/data", headers=headers)
    assert answer.status == status
    assert "b: c" not in str(answer.headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [("shop.localhost", 200), ("localhost:8443", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("testserver", 200),
     ("evil.example", 421), ("localhost.evil.example", 421), ("a b", 400), ("a@b", 400), ("", 400), (None, 400)],
)  # fmt: skip
async def test_hosts_in_development(wall, host, status) -> None:
    app, _ = wall
    assert (await ask(app, "/data", host=host)).status == status


@pytest.mark.parametrize(("host", "status"), [("Shop.example", 200), ("localhost", 421), ("shop.example:444", 421)])
async def test_only_the_public_host_is_served(tmp_path, host, status) -> None:
    app, _ = make_app(tmp_path, public_origin="https://shop.example")
    assert (await ask(app, "/data", host=host)).status == status


@pytest.mark.parametrize(
    "origin", ["shop.example", "https://shop.example/", "https://Shop.example", "ftp://a", "https://"]
)
def test_a_public_origin_that_is_none_stops_the_start(tmp_path, origin) -> None:
    with pytest.raises(Refused, match="not an origin"):
        make_app(tmp_path, public_origin=origin)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO"])
async def test_methods_that_are_not_served(wall, method) -> None:
    app, _ = wall
    assert (await ask(app, "/data", method=method)).status == 405
