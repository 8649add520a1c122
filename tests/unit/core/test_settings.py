"""Settings: what is not understood is refused, and production is strict."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from seawall.core.errors import Refused
from seawall.settings import load

SECRET = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
PRODUCTION = {
    "SEAWALL_ENV": "production",
    "DATABASE_URL": "postgresql://seawall_app:x@db/app",
    "SEAWALL_DATABASE__IDENTITY_URL": "postgresql://seawall_identity:x@db/app",
    "SEAWALL_SECRET_KEY": SECRET,
    "SEAWALL_WEB__PUBLIC_ORIGIN": "https://shop.example",
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SEAWALL_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)


def test_the_file_and_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seawall.toml").write_text('[app]\nname = "Shop"\n[session]\nidle_timeout_s = 60\n')
    monkeypatch.setenv("SEAWALL_SESSION__IDLE_TIMEOUT_S", "90")
    settings = load(tmp_path)
    assert (settings.app.name, settings.session.idle_timeout_s, settings.root) == ("Shop", 90, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[session]\nidle_timeout_s = 0\n",
        "[session]\nidle_timeout = 60\n",
        "[nonsense]\nx = 1\n",
        "[web]\nbody_max_bytes = 'many'\n",
        '[identity.providers.x]\nkind = "saml"\n',
        "this is not toml",
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "seawall.toml").write_text(text)
    with pytest.raises(Refused) as refused:
        load(tmp_path)
    assert "seawall.toml" in refused.value.fix


@pytest.mark.parametrize("missing", [name for name in PRODUCTION if name != "SEAWALL_ENV"])
def test_production_needs_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert load(tmp_path).production
    monkeypatch.delenv(missing)
    with pytest.raises(Refused, match="production needs"):
        load(tmp_path)


def test_a_short_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEAWALL_SECRET_KEY", "short")
    with pytest.raises(Refused, match="32 bytes"):
        load(tmp_path)


def test_secrets_do_not_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert SECRET not in repr(load(tmp_path))
    assert ":x@" not in repr(load(tmp_path))
