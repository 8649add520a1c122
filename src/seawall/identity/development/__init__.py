"""The embedded development provider: a small OpenID provider at `/dev-provider`, so that the first run needs none.

DEVELOPMENT ONLY. It refuses to exist when `SEAWALL_ENV=production`. It is strict where it counts all the same (PKCE
S256, exact redirect addresses, codes once), so that what works with it works with a real one.
"""

from seawall.identity.development.accounts import DEMO_PASSWORD, ISSUER, add_development_account
from seawall.identity.development.provider import DevelopmentProvider

__all__ = ["DEMO_PASSWORD", "ISSUER", "DevelopmentProvider", "add_development_account"]
