"""The wall: the restaurant app as it is generated, whole."""

from __future__ import annotations

from app import app

__all__ = ["app"]
