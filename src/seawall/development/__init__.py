"""development: everything the first run needs and production must not have.

An embedded database, a development certificate authority, seeded tenants, and the target file for the judge. Nothing
here is
imported by a running production app; `seawall dev` refuses `SEAWALL_ENV=production`.
"""

from seawall.development.seeding import Sow

__all__ = ["Sow"]
