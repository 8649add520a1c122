"""Escaping, money, time, static files, and the API document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.support.web import HTML, ask, make_app

from seawall.web.pages import money, when


async def test_values_are_escaped(wall) -> None:
    app, _ = wall
    answer = await ask(app, "/page", headers=HTML)
    assert b"<p>&lt;b&gt;&amp;</p>" in answer.body
    assert b"<b>" not in answer.body
    assert b"Development" in answer.body


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (123450, "USD", "$1,234.50"),
        (5, "EUR", "€0.05"),
        (-1001, "GBP", "−£10.01"),
        (1500, "JPY", "¥1,500"),
        (1234, "KWD", "1.234 KWD"),
        (10**18 + 1, "CHF", "10,000,000,000,000,000.01 CHF"),
    ],
)
def test_money(minor, currency, shown) -> None:
    assert money(minor, currency) == shown


@pytest.mark.parametrize("wrong", [1.5, True, "1"])
def test_money_is_an_integer(wrong) -> None:
    with pytest.raises(TypeError):
        money(wrong, "USD")


def test_when() -> None:
    moment = datetime(2026, 11, 3, 1, 5, tzinfo=timezone(timedelta(hours=2)))
    assert str(when(moment)) == '<time datetime="2026-11-02T23:05:00+00:00">2 Nov 2026, 23:05 UTC</time>'
    with pytest.raises(ValueError, match="zone"):
        when(datetime(2026, 11, 3))
    assert "3 Nov 2026" in when(datetime(2026, 11, 3, tzinfo=UTC))


async def test_static_files_by_version(wall) -> None:
    app, _ = wall
    page = (await ask(app, "/page", headers=HTML)).body.decode()
    address = page.split('href="/seawall/static/seawall.css')[1].split('"')[0]
    versioned = await ask(app, f"/seawall/static/seawall.css{address}")
    assert versioned.status == 200
    assert versioned.header("content-type") == "text/css; charset=utf-8"
    assert versioned.header("cache-control") == "public, max-age=31536000, immutable"
    plain = await ask(app, "/seawall/static/seawall.css")
    assert plain.header("cache-control") == "public, no-cache"
    assert (await ask(app, "/seawall/static/app/logo.svg")).body == b"<svg/>"


@pytest.mark.parametrize("name", ["README.md", "../pages.py", "..%2fpages.py", "/etc/passwd", "app/", "nothing.css"])
async def test_other_files_are_not_there(wall, name) -> None:
    app, _ = wall
    answer = await ask(app, f"/seawall/static/{name}")
    assert answer.status in (400, 404)


async def test_a_changed_file_is_read_again_in_development(wall, tmp_path) -> None:
    app, _ = wall
    assert (await ask(app, "/seawall/static/app/logo.svg")).body == b"<svg/>"
    (tmp_path / "static" / "logo.svg").write_text("<svg>new</svg>")
    assert (await ask(app, "/seawall/static/app/logo.svg")).body == b"<svg>new</svg>"


async def test_the_api_document_is_one_decided_route(wall) -> None:
    app, _ = wall
    document = (await ask(app, "/openapi.json")).json()
    assert "/notes" in document["paths"]
    assert "/seawall/static/{name}" not in document["paths"]
    assert set(document["paths"]["/notes"]["post"]["responses"]) == {"200", "default"}
    assert "Problem" in document["components"]["schemas"]
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert (await ask(app, path)).status == 404


async def test_the_app_may_override_a_template(tmp_path) -> None:
    (tmp_path / "templates" / "web").mkdir(parents=True)
    (tmp_path / "templates" / "web" / "error.html").write_text("ours: {{ problem.code }}")
    app, _ = make_app(tmp_path)
    assert (await ask(app, "/nowhere", headers=HTML)).body == b"ours: not-found"
