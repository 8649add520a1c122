"""A database URL's password, from the vault when the URL has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.settings import Settings


async def with_password(settings: Settings, url: str) -> str:
    """The URL as it is, or with the password that the vault has for its role. For commands that connect once.

    Raises:
        Refused: the vault does not give it to this identity.
    """
    from seawall.core.errors import Refused
    from seawall.core.vault import VaultUnavailable
    from seawall.secrets import include
    from seawall.store.address import sqlalchemy_url, user_of

    if not settings.secrets.address or sqlalchemy_url(url).password is not None:
        return url
    given = include(settings)
    source = given.password(user_of(url))
    assert given.vault is not None and source is not None  # noqa: S101, PT018 - there is an address
    try:
        made = sqlalchemy_url(url).set(drivername="postgresql", password=await source())
    except VaultUnavailable as error:
        raise Refused(
            f"the vault does not give the password of {user_of(url)}: {error}",
            why="the URL holds none either, so nobody can sign in as it",
            fix="check the vault, and the operator's role and credential file in SEAWALL_SECRETS__ROLE and …"
            "__CREDENTIAL_FILE: the app's own may not read it",
        ) from None
    finally:
        await given.vault.close()
    return made.render_as_string(hide_password=False)
