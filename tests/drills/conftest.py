"""Drills on the House of identity, with API clients."""

from tests.integration.identity.clients.conftest import api, browser, house, settings
from tests.integration.identity.conftest import ann, tenant

__all__ = ["ann", "api", "browser", "house", "settings", "tenant"]
