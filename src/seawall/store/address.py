"""Database URLs: libpq's form in settings, SQLAlchemy's and asyncpg's in use."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url

from seawall.core.errors import Refused


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except Exception:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise Refused(
            "the database URL is not a PostgreSQL URL",
            why="row-level security with a verified context exists only there",
            fix="use postgresql://seawall_app:…@host/database",
        )
    return parsed


def sqlalchemy_url(url: str) -> URL:
    """The same database through the asyncpg dialect."""
    return _parse(url).set(drivername="postgresql+asyncpg")


def asyncpg_url(url: str) -> str:
    """The same database for asyncpg, which knows neither dialects nor SQLAlchemy's quoting."""
    return _parse(url).set(drivername="postgresql").render_as_string(hide_password=False)


def user_of(url: str) -> str:
    """The role a URL signs in as."""
    return _parse(url).username or ""
