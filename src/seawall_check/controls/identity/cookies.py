"""The session cookie is `__Host-`, HttpOnly, Secure and SameSite=Strict, and the return trip still works.

Why
    The cookie is the session. Without `Secure` and `__Host-` a neighbour host or a plain connection can read or
    plant it, without HttpOnly every injected script can, and without Strict other sites can make the browser use
    it.
How it is attacked
    A sign-in is followed step by step and every cookie on the way is read; so is the one that a second factor renews
    the session with. Then the trip back from a provider on another site is played: the callback must end in a page that
    goes on by itself, because after a cross-site redirect a browser does not send a Strict cookie. A link from another
    site gets one such bounce, never a loop, and never another origin.
How to fix
    Do not set the session cookie yourself; `seawall.identity` does. A `next` address may only be a path of this
    origin.
"""

from __future__ import annotations

from http.cookies import CookieError, Morsel, SimpleCookie
from urllib.parse import quote, urljoin, urlsplit

import httpx2

from seawall_check.control import Control
from seawall_check.errors import Unproven
from seawall_check.second_factor import prove
from seawall_check.sign_in import Page, sign_in
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/cookies",
    title="__Host-, HttpOnly, Secure, SameSite=Strict on the session; the OIDC return trip still works",
    refs=("ASVS 3.3.1", "ASVS 3.3.2", "ASVS 3.3.3", "ASVS 3.3.4", "RFC 6265bis"),
)

TRANSACTION_LIFETIME_MAX_S = 600
FROM_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
HTML = {"Accept": "text/html"}
EVIL_PATHS = (
    "//evil.example/x",
    "https://evil.example/x",
    "/\\evil.example/x",
    "/\t/evil.example/x",
    "\\/\\/evil.example",
    "javascript:alert(1)",
    "/%09/evil.example",
    "//evil.example%2f..",
)


async def check(target: Target, trial: Trial) -> None:
    persona = target.personas[0] if target.personas else None
    if persona is None:
        raise Unproven("there is no persona to sign in as")
    answers: list[httpx2.Response] = []
    client = target.anonymous()

    async def remember(response: httpx2.Response) -> None:
        answers.append(response)

    client.event_hooks["response"].append(remember)
    await sign_in(client, target.sign_in, persona)
    trial.allow("a sign-in", await client.get(target.sign_in.me, headers={"Accept": "application/json"}))
    _attributes(target, trial, answers)
    _return_trip(target, trial, answers)
    await _renewed(target, trial)
    await _bounce(target, trial, client)
    await _next(target, trial)
    if target.sign_in.sign_out:
        response = await client.post(target.sign_in.sign_out, headers={"Accept": "application/json"})
        cleared = [one for one in _set_cookies(response) if one.key == target.sign_in.session_cookie]
        trial.expect(
            "signing out takes the cookie away",
            expected="Set-Cookie with Max-Age=0",
            observed=", ".join(f"Max-Age={one['max-age']!r}" for one in cleared) or "nothing",
            ok=any(one["max-age"] == "0" for one in cleared),
        )


async def _renewed(target: Target, trial: Trial) -> None:
    """The cookie that a proved second factor brings, which another piece of code sets than the sign-in's."""
    privileged = [one for one in target.personas if one.role in target.sign_in.privileged_roles]
    if not privileged:
        return
    passkey = await target.passkey(privileged[0])
    client, answers = await target.half_signed_in(privileged[0]), list[httpx2.Response]()

    async def remember(response: httpx2.Response) -> None:
        answers.append(response)

    client.event_hooks["response"].append(remember)
    await prove(client, target.sign_in, passkey, privileged[0])
    _attributes(target, trial, answers)


def _set_cookies(response: httpx2.Response) -> list[Morsel[str]]:
    found: list[Morsel[str]] = []
    for line in response.headers.get_list("set-cookie"):
        parsed: SimpleCookie = SimpleCookie()
        try:
            parsed.load(line)
        except CookieError:
            continue
        found.extend(parsed.values())
    return found


def _attributes(target: Target, trial: Trial, answers: list[httpx2.Response]) -> None:
    name = target.sign_in.session_cookie
    cookies = [one for answer in answers for one in _set_cookies(answer) if one.value]
    sessions = [one for one in cookies if one.key == name]
    if not sessions:
        raise Unproven(f"the sign-in sets no cookie {name!r}")
    for one in sessions:
        _expect(trial, "the session cookie's name begins with __Host-", one.key.startswith("__Host-"), one.key)
        _expect(trial, "the session cookie is SameSite=Strict", one["samesite"].lower() == "strict", one["samesite"])
    for one in cookies:
        what = f"cookie {one.key}"
        _expect(trial, f"{what} is Secure", bool(one["secure"]), "Secure" if one["secure"] else "not Secure")
        _expect(trial, f"{what} is HttpOnly", bool(one["httponly"]), "HttpOnly" if one["httponly"] else "not HttpOnly")
        _expect(trial, f"{what} has Path=/ and no Domain", one["path"] == "/" and not one["domain"], str(dict(one)))
        _expect(trial, f"{what} is SameSite", one["samesite"].lower() in {"lax", "strict"}, one["samesite"] or "absent")
        if one.key == target.sign_in.known_cookie:
            # it opens nothing: a browser that was here before is less of a surprise
            _expect(trial, f"{what} is not the session", one.value not in {s.value for s in sessions}, "compared")
        elif one.key != name:
            age = one["max-age"]
            short = age.isdigit() and int(age) <= TRANSACTION_LIFETIME_MAX_S
            _expect(trial, f"{what} lives for at most {TRANSACTION_LIFETIME_MAX_S} s", short, f"Max-Age={age!r}")
    token = sessions[-1].value
    leaked = [str(a.request.url.path) for a in answers if token in str(a.request.url) or token in a.text]
    _expect(trial, "the token is in no address and no page", not leaked, ", ".join(leaked) or "nowhere")


def _expect(trial: Trial, attempt: str, ok: bool, observed: str) -> None:
    trial.expect(attempt, expected="yes", observed=observed, ok=ok)


def _return_trip(target: Target, trial: Trial, answers: list[httpx2.Response]) -> None:
    """The answer that sets the session must be a page that goes on by itself: a redirect would lose a Strict cookie."""
    name = target.sign_in.session_cookie
    landed = [answer for answer in answers if any(one.key == name and one.value for one in _set_cookies(answer))][-1]
    onward = Page(landed.text).onward if "html" in landed.headers.get("content-type", "") else None
    trial.expect(
        "the callback ends in a page that goes on within this origin",
        expected="200, text/html, onward to a path of this origin",
        observed=f"{landed.status_code}, onward to {onward}",
        ok=landed.status_code == 200 and onward is not None and _own(target, onward),
        artifact=landed,
    )


async def _bounce(target: Target, trial: Trial, client: httpx2.AsyncClient) -> None:
    """A link from a mail: it comes without the Strict cookie, although the person is signed in."""
    path = "/?from=mail"
    link = await target.anonymous().get(path, headers={**HTML, **FROM_ELSEWHERE})
    onward = Page(link.text).onward
    trial.expect(
        "a link from another site is sent to itself once",
        expected=f"a page that goes on to {path}",
        observed=f"{link.status_code}, onward to {onward}",
        ok=link.status_code == 200 and onward == path,
        artifact=link,
    )
    own = {**HTML, **FROM_ELSEWHERE, "Sec-Fetch-Site": "same-origin"}
    second = await target.anonymous().get(path, headers=own)
    trial.expect(
        "the second time there is no loop",
        expected="not the same page again",
        observed=f"{second.status_code}, onward to {Page(second.text).onward}",
        ok=Page(second.text).onward != path,
        artifact=second,
    )
    sneaky = await target.anonymous().get("//evil.example/x", headers={**HTML, **FROM_ELSEWHERE})
    onward = Page(sneaky.text).onward
    trial.expect(
        "a path that reads as another site is not bounced to it",
        expected="no page that leaves this origin",
        observed=f"{sneaky.status_code}, onward to {onward}",
        ok=onward is None or _own(target, onward),
        artifact=sneaky,
    )
    posted = await target.anonymous().post(path, headers={**HTML, **FROM_ELSEWHERE, "Origin": "https://evil.example"})
    trial.refuse("a form posted by another site", posted, statuses={401, 403, 405})


async def _next(target: Target, trial: Trial) -> None:
    """An address to go on to after signing in must not lead elsewhere."""
    how, persona = target.sign_in, target.personas[0]
    for evil in EVIL_PATHS:
        start = f"{how.start}{'&' if '?' in how.start else '?'}next={quote(evil, safe='')}"
        client = target.anonymous()
        landed: list[httpx2.Response] = []

        async def remember(response: httpx2.Response, seen: list[httpx2.Response] = landed) -> None:
            seen.append(response)

        client.event_hooks["response"].append(remember)
        try:
            await sign_in(client, how.model_copy(update={"start": start}), persona)
        except Unproven:
            last = landed[-1].status_code
            trial.expect(f"next={evil!r} is refused", expected="4xx", observed=last, ok=400 <= last < 500)
            continue
        away = [place for answer in landed for place in _places(answer) if not _own(target, place)]
        observed = ", ".join(away) or "stays here"
        trial.expect(f"next={evil!r} does not lead away", expected="stays here", observed=observed, ok=not away)


def _places(answer: httpx2.Response) -> list[str]:
    """Where an answer sends the browser."""
    onward = Page(answer.text).onward if "html" in answer.headers.get("content-type", "") else None
    return [place for place in (answer.headers.get("location"), onward) if place]


def _own(target: Target, place: str) -> bool:
    # As browsers do: a backslash is a slash, and tabs and line ends vanish.
    plain = place.translate({9: None, 10: None, 13: None}).replace("\\", "/")
    url = urlsplit(urljoin(f"{target.base_url}/", plain))
    return f"{url.scheme}://{url.netloc}" == target.base_url
