"""Where a browser may be sent after signing in."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.identity.paths import is_own_path, own_path

ORIGIN = "https://shop.example"


@pytest.mark.parametrize(
    "path", ["/", "/orders", "/orders/7?x=1&y=%2F#top", "/auth/totp?next=/auth/step-up/1", "/a:b@c"]
)
def test_own_paths(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "orders",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/a b",
        '/"><script>',
        "/é",
        "/" + "a" * 3_000,
        "/[",
        " /a",
    ],
)
def test_everything_else_goes_home(path: str | None) -> None:
    if path == "/[":
        assert urlsplit(urljoin(ORIGIN, own_path(path))).netloc == "shop.example"
    else:
        assert own_path(path) == "/"


@given(st.text(alphabet="/\\.:@?#%[]\t\n\r aev0;'\"<>\u2215\uff0f", max_size=12))
def test_whatever_is_accepted_stays_on_this_origin(path: str) -> None:
    if not is_own_path(path):
        return
    # As browsers read it: backslash is slash, tabs and line ends vanish (WHATWG URL §4.4).
    read = path.translate({9: None, 10: None, 13: None}).replace("\\", "/")
    assert urlsplit(urljoin(ORIGIN, read)).netloc == "shop.example"
    assert not read.startswith("//")
