"""Sign-in answers alike for accounts that exist and that do not, and guessing is throttled.

Why
    A form that says, shows or takes longer when an account exists hands out the customer list, one address at a
    time. A form that answers as often as it is asked hands out the accounts with weak passwords.
How it is attacked
    Wrong passwords are sent for known and invented addresses in turn. Status, headers and body must be equal and the
    medians of the times close. Then one account, and after that one network, is tried until it is slowed down; a right
    password is then refused too, however its account is written, an invented account is slowed down just as a known
    one, and other accounts are not. Who is slowed down gets no further by claiming other addresses in the headers of
    proxies. Where people sign in with a passkey, the options must not depend on an address that is sent along.
How to fix
    Use the sign-in of `seawall.identity`; the limits are `identity.attempts_per_account` and
    `attempts_per_network`.
"""

from __future__ import annotations

import re
import secrets
import statistics
import time

import httpx2

from seawall_check.control import Control
from seawall_check.controls.identity._embedded import Embedded
from seawall_check.errors import Unproven
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/enumeration",
    title="Sign-in answers alike, in body and time, for known and unknown accounts; throttled",
    refs=("ASVS 6.3.1", "ASVS 6.3.8"),
    timeout_s=240,
    exclusive=True,
)

PER_ACCOUNT = 6
PER_NETWORK = 60
SAMPLES = 16
RATIO_MAX = 1.5
DIFFERENCE_MAX_S = 0.004
"""Medians nearer than this are the same on any network."""
NEIGHBOUR = "127.0.0.77"
"""Another address of the judge's own network, which no app takes for its proxy."""
FORWARDED = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")
JSON = {"Accept": "application/json"}
IGNORED_HEADERS = {"date", "x-trace-id", "content-security-policy"}


async def check(target: Target, trial: Trial) -> None:
    env = {
        "SEAWALL_IDENTITY__ATTEMPTS_PER_ACCOUNT": str(PER_ACCOUNT),
        "SEAWALL_IDENTITY__ATTEMPTS_PER_NETWORK": str(PER_NETWORK),
        "SEAWALL_IDENTITY__ATTEMPTS_WINDOW_S": "3600",
    }
    async with target.variant(env=env) as app:
        form = await Embedded.find(app)
        if form is None:
            raise Unproven("the app's sign-in form is on another origin")
        right = await form.submit(form.query(), app.personas[0].login, app.personas[0].password)
        trial.allow("the right password", right, ok=_code(right), expected="a code")
        await _alike(form, trial)
        await _passkey_options(app, trial)
        await _timing(form, trial)
        await _per_account(form, trial)
        await _per_network(form, trial)


def _code(response: httpx2.Response) -> bool:
    return "code=" in response.headers.get("location", "")


def _stranger() -> str:
    return f"{secrets.token_hex(5)}@nobody.example"


async def _wrong(form: Embedded, login: str) -> httpx2.Response:
    return await form.submit(form.query(), login, secrets.token_urlsafe(9))


def _normal(response: httpx2.Response) -> tuple[int, str, str]:
    """Status, headers and body, without what differs by nature: times, trace ids, nonces."""
    headers = sorted((k, v) for k, v in response.headers.multi_items() if k not in IGNORED_HEADERS)
    body = re.sub(r'nonce="[^"]*"', 'nonce="N"', response.text)
    return response.status_code, str(headers), re.sub(r"\b[0-9a-f]{32}\b", "TRACE", body)


async def _alike(form: Embedded, trial: Trial) -> None:
    known = form.target.personas[0].login
    unknown = _stranger()
    pairs = {}
    for kind, login in (("known", known), ("unknown", unknown)):
        response = await _wrong(form, login)
        pairs[kind] = (_normal(response), response)
        trial.refuse(f"a wrong password, {kind} account", response, ok=not _code(response), expected="no code")
    (left, first), (right, second) = pairs["known"], pairs["unknown"]
    for index, part in enumerate(("status", "headers", "body")):
        trial.expect(
            f"the {part} is the same for a known and an unknown account",
            expected="equal",
            observed="equal" if left[index] == right[index] else f"{left[index]!s:.200} / {right[index]!s:.200}",
            ok=left[index] == right[index],
            artifact=f"{first.text}\n\n{second.text}",
        )


async def _timing(form: Embedded, trial: Trial) -> None:
    """Known and unknown in turn, so that what slows the machine slows both."""
    people = [persona.login for persona in form.target.personas[1:]]  # the first is kept for the throttle
    if len(people) * (PER_ACCOUNT - 1) < SAMPLES:
        raise Unproven("too few personas to measure times without being slowed down")
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    for sample in range(SAMPLES):
        known = people[sample % len(people)]
        for kind, login in (("known", known), ("unknown", _stranger())):
            begun = time.perf_counter()
            response = await _wrong(form, login)
            times[kind].append(time.perf_counter() - begun)
            if response.status_code == 429:
                raise Unproven("slowed down before the times could be measured")
    known_s, unknown_s = statistics.median(times["known"]), statistics.median(times["unknown"])
    ratio = max(known_s, unknown_s) / max(min(known_s, unknown_s), 1e-6)
    trial.expect(
        f"the medians of {SAMPLES} times each are close",
        expected=f"ratio at most {RATIO_MAX}, or within {DIFFERENCE_MAX_S * 1000:.0f} ms",
        observed=f"known {known_s * 1000:.1f} ms, unknown {unknown_s * 1000:.1f} ms, ratio {ratio:.2f}",
        ok=ratio <= RATIO_MAX or abs(known_s - unknown_s) <= DIFFERENCE_MAX_S,
    )


async def _until_slow(form: Embedded, login: str, most: int) -> tuple[int, httpx2.Response]:
    response = await _wrong(form, login)
    for attempt in range(1, most + 1):
        if response.status_code == 429:
            return attempt, response
        response = await _wrong(form, login)
    return most + 1, response


async def _per_account(form: Embedded, trial: Trial) -> None:
    persona = form.target.personas[0]
    taken: dict[str, int] = {}
    for kind, login in (("known", persona.login), ("unknown", _stranger())):
        taken[kind], response = await _until_slow(form, login, PER_ACCOUNT + 2)
        trial.expect(
            f"guessing at one {kind} account is slowed down",
            expected=f"429 with Retry-After within {PER_ACCOUNT + 1} attempts",
            observed=f"{response.status_code} after {taken[kind]}",
            ok=response.status_code == 429 and response.headers.get("retry-after", "").isdigit(),
            artifact=response,
        )
    right = await form.submit(form.query(), persona.login, persona.password)
    trial.refuse("the right password of the slowed-down account", right, statuses={429})
    for how, login in (("in capitals", persona.login.upper()), ("with blanks around it", f" {persona.login} ")):
        written = await form.submit(form.query(), login, persona.password)
        trial.refuse(f"the same, written {how}", written, ok=not _code(written), expected="no code")
    other = form.target.personas[-1]
    free = await form.submit(form.query(), other.login, other.password)
    trial.expect("another account signs in meanwhile", expected="a code", observed=free.status_code, ok=_code(free))


async def _per_network(form: Embedded, trial: Trial) -> None:
    attempt, response = 1, await _wrong(form, _stranger())
    while response.status_code != 429 and attempt <= PER_NETWORK:
        attempt, response = attempt + 1, await _wrong(form, _stranger())
    trial.expect(
        "guessing at many accounts from one network is slowed down",
        expected=f"429 within {PER_NETWORK} more attempts",
        observed=f"{response.status_code} after {attempt}",
        ok=response.status_code == 429,
        artifact=response,
    )
    client = form.target.anonymous(address=NEIGHBOUR)
    for name in FORWARDED:
        told = {name: f"203.0.113.{secrets.randbelow(200) + 1}"}
        claimed = await form.submit(form.query(), _stranger(), "x", headers=told, client=client)
        trial.refuse(f"the same network, claiming another address in {name}", claimed, statuses={429})


async def _passkey_options(app: Target, trial: Trial) -> None:
    """Options for signing in with a passkey, asked for with an address: they must not tell whose is known."""
    if app.sign_in.passkeys is None:
        return
    told: dict[str, str] = {}
    for kind, login in (("known", app.personas[0].login), ("unknown", _stranger())):
        asked = {app.sign_in.login_field: login, "username": login}
        answer = await app.anonymous().post(app.sign_in.passkeys.sign_in_options, json=asked, headers=JSON)
        options = answer.json().get("options", {}) if answer.status_code == 200 else {}
        shown = {name: value for name, value in options.items() if name != "challenge"}
        told[kind] = f"{answer.status_code} {shown}"
    trial.expect(
        "the options for a passkey are the same for a known and an unknown account",
        expected=told["unknown"],
        observed=told["known"],
        ok=told["known"] == told["unknown"],
    )
