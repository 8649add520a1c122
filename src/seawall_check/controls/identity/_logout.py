"""Back-channel logout: who may end a session, and with what."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

import httpx2

from seawall_check.probes.provider import LOGOUT_EVENT, HostileProvider, Lie
from seawall_check.target import Target
from seawall_check.trial import Trial

PATH = "/auth/back-channel-logout/judge"


def _lies(now: int) -> Mapping[str, Lie]:
    """Logout tokens that must end nothing."""
    return {
        "for another client": Lie(lambda c: {**c, "aud": "another-client"}),
        "of another issuer": Lie(lambda c: {**c, "iss": "https://idp.example"}),
        "without the event": Lie(lambda c: {**c, "events": {}}),
        "with a nonce, as an ID token has": Lie(lambda c: {**c, "nonce": secrets.token_urlsafe(16)}),
        "without an id": Lie(lambda c: {**c, "jti": None}),
        "that names nobody": Lie(lambda c: {**c, "sub": None}),
        "that has expired": Lie(lambda c: {**c, "exp": now - 120, "iat": now - 300}),
        "of an hour ago": Lie(lambda c: {**c, "exp": now + 120, "iat": now - 3_600}),
        "that is unsigned": Lie(signature="none"),
        "signed with another key": Lie(signature="other-key"),
        "that brings its own key": Lie(signature="embedded-key"),
        "signed HS256 with the public key": Lie(signature="hs256-public-key"),
        "in the place of an ID token": Lie(lambda c: {**c, "events": {LOGOUT_EVENT: {}}, "nonce": "x"}),
    }


async def try_logout(app: Target, provider: HostileProvider, trial: Trial, token: str, subject: str) -> None:
    """Attack with every lie, then end the session with an honest token, and replay that token on the next session."""
    client = app.anonymous()

    async def sent(logout_token: str) -> httpx2.Response:
        # The provider is no browser: neither Origin nor cookies.
        headers = {"Origin": "", "Sec-Fetch-Site": ""}
        return await client.post(PATH, data={"logout_token": logout_token}, headers=headers)

    async def live() -> bool:
        cookie = {"Cookie": f"{app.sign_in.session_cookie}={token}", "Accept": "application/json"}
        return (await client.get(app.sign_in.me, headers=cookie)).status_code == 200

    lies = {name: provider.logout_token(subject, lie) for name, lie in _lies(int(time.time())).items()}
    lies["of another person"] = provider.logout_token("somebody-else")
    lies["of another type"] = provider.logout_token(subject, typ="at+jwt")
    observed = {name: ((await sent(lie)).status_code, await live()) for name, lie in lies.items()}
    honest = provider.logout_token(subject)
    status, after = (await sent(honest)).status_code, await live()
    told = f"{status}, the session {'lives' if after else 'is over'}"
    trial.allow(
        "the provider ends the session", told, ok=status == 200 and not after, expected="200, over", of="logout"
    )
    for name, (answered, alive) in observed.items():
        told = f"{answered}, the session {'lives' if alive else 'is over'}"
        ok = alive and (answered == 400 or name == "of another person")
        trial.refuse(f"a logout token {name}", told, ok=ok, expected="400, lives", of="logout")
    trial.refuse("the same logout token again", await sent(honest), statuses={400}, of="logout")
