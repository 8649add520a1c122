"""The app's own authorization endpoint, where people let API clients act: PKCE, exact addresses, codes used once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

import httpx2

from seawall_check.controls.identity._api import client_of, somebody
from seawall_check.errors import Unproven
from seawall_check.probes.oauth import JSON, Api, Asking
from seawall_check.target import Target
from seawall_check.trial import Trial

EVIL = "https://evil.example/callback"
RACERS = 5
NOT_GIVEN = {400, 401}
Change = Mapping[str, str | None]
WRONG: Mapping[str, Change] = {
    "without PKCE": {"code_challenge": None, "code_challenge_method": None},
    "with PKCE plain": {"code_challenge_method": "plain"},
    "with a challenge and no method (means plain)": {"code_challenge_method": None},
    "with an empty challenge": {"code_challenge": ""},
    "for a token in the address (implicit flow)": {"response_type": "token"},
    "for an unknown client": {"client_id": "nobody"},
    "with a foreign redirect address": {"redirect_uri": EVIL},
}


async def try_authorization(target: Target, trial: Trial) -> None:
    """Ask wrongly as an API client, with a person who agrees to everything; then misuse honest codes."""
    browser, api = await target.fresh(somebody(target)), await client_of(target)
    code, _ = await _agreed(browser, api)
    trial.allow("an honest API client is given a code", "a code" if code else "none", ok=bool(code), of="api")
    longer = {f"with a redirect address that only begins alike ({end})": end for end in ("/x", "?x=1", ".evil.example")}
    alike: dict[str, Change] = {what: {"redirect_uri": f"{api.redirect_uri}{end}"} for what, end in longer.items()}
    for name, change in {**WRONG, **alike}.items():
        code, answer = await _agreed(browser, api, **change)
        trial.refuse(
            f"an API client asks {name}",
            f"{answer.status_code}{' with a code or token' if code else ''}",
            ok=not code,
            expected="no code",
            artifact=answer,
            of="api",
        )
    await _codes(target, trial, browser, api)


async def _agreed(browser: httpx2.AsyncClient, api: Api, **change: str | None) -> tuple[str, httpx2.Response]:
    """The person's answer, sent without looking at the page before; gives the code or token in it, if there is one."""
    asking = Asking(api)
    fields = asking.query(**change) | {"decision": "allow"}
    answer = await browser.post(str(api.metadata["authorization_endpoint"]), data=fields, headers=JSON)
    location = answer.headers.get("location", "")
    told = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    if not location and isinstance(told, dict):
        location = str(told.get("location", ""))
    given = [name for name in ("code=", "access_token=", "id_token=") if name in location]
    return (location if given else ""), answer


async def _code(browser: httpx2.AsyncClient, api: Api) -> tuple[str, str]:
    """A fresh code and its verifier. Raises Unproven when there is none."""
    asking = Asking(api)
    answer = await asking.consent(browser)
    if "code" not in answer:
        raise Unproven(f"the app gives no code: {answer.get('error', answer)}")
    return answer["code"], asking.verifier


async def _codes(target: Target, trial: Trial, browser: httpx2.AsyncClient, api: Api) -> None:
    """A code is good once, for who asked, with what was asked for."""
    other = secrets.token_urlsafe(32)
    code, verifier = await _code(browser, api)
    wrong = {
        "with a wrong verifier": await api.redeem((await _code(browser, api))[0], other),
        "without a verifier": await api.redeem((await _code(browser, api))[0], ""),
        "with another redirect address": await api.redeem(*await _code(browser, api), redirect_uri=EVIL),
        "as another client": await api.redeem(*await _code(browser, api), client_id="nobody"),
    }
    trial.allow("an API client redeems its code", await api.redeem(code, verifier), of="api-code")
    target.redactor.learn(api.access_token, api.refresh_token)
    first = await api.get(target.sign_in.me)
    trial.allow("its token", first, of="api-code")
    for name, answer in wrong.items():
        trial.refuse(f"a code of the API redeemed {name}", answer, statuses=NOT_GIVEN, of="api-code")
    again = await api.redeem(code, verifier)
    trial.refuse("the same code of the API again", again, statuses=NOT_GIVEN, of="api-code")
    # a code that comes twice was in two hands (RFC 6749 §4.1.2)
    after = await api.get(target.sign_in.me)
    trial.refuse("the token of a code that came twice", after, statuses={401}, of="api-code")
    code, verifier = await _code(browser, api)
    answers = await asyncio.gather(*(api.redeem(code, verifier) for _ in range(RACERS)))
    given = sum(answer.is_success for answer in answers)
    trial.refuse(
        f"one code of the API, {RACERS} times at the same moment",
        f"{given} of {RACERS} succeeded",
        ok=given <= 1,
        expected=f"1 of {RACERS}",
        of="api-code",
    )
