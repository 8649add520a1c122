"""Signing a persona in the way a browser would: redirects, a form, a page that sends the browser on.

Nothing here knows the app: the form is found in the page, its hidden fields are kept, and a callback page that
continues by `<meta http-equiv=refresh>` or by `location.replace("…")` is followed. (A `SameSite=Strict` cookie is not
sent on a redirect chain that another site began, so sound apps answer the callback with such a page.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2

from seawall_check.document import Persona, SignIn
from seawall_check.errors import Unproven

STEPS_MAX = 12
_REFRESH = re.compile(r"(?i)^\s*\d+\s*(?:;\s*url\s*=\s*['\"]?([^'\"]+))?")
_REPLACE = re.compile(r"""location(?:\.replace\(|\.assign\(|\.href\s*=|\s*=)\s*["']([^"']+)["']""")


@dataclass
class Form:
    """A form of a page: where it goes, how, and every named field with its value."""

    action: str = ""
    method: str = "GET"
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """The forms of an HTML page and where it sends the browser by itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.onward: str | None = None
        self._form: Form | None = None
        self.feed(html)
        if self.onward is None and (found := _REPLACE.search(html)):
            self.onward = found[1].encode().decode("unicode_escape") if "\\" in found[1] else found[1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(values.get("action", ""), values.get("method", "get").upper())
            self.forms.append(self._form)
        elif tag == "a" and values.get("href"):
            self.links.append(values["href"])
        elif tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            found = _REFRESH.match(values.get("content", ""))
            self.onward = (found[1] or "").strip() if found else None
        elif tag in {"input", "button", "textarea", "select"} and self._form is not None and values.get("name"):
            if values.get("type", "").lower() in {"checkbox", "radio"} and "checked" not in values:
                return
            self._form.fields.setdefault(values["name"], values.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def form_with(self, name: str) -> Form | None:
        """The first form that has a field of this name."""
        return next((form for form in self.forms if name in form.fields), None)


async def sign_in(client: httpx2.AsyncClient, how: SignIn, persona: Persona) -> None:
    """Sign a persona in on this client, whose cookie jar then holds the session.

    Raises:
        Unproven: when the app does not let the persona in; says at which step.
    """
    response = await client.get(how.start, headers={"Accept": "text/html"}, follow_redirects=True)
    submitted = False
    for _ in range(STEPS_MAX):
        if response.status_code >= 400:
            if submitted:
                break  # where the person lands is not our matter; whether they are signed in is
            raise Unproven(f"{persona.name} cannot sign in: {response.request.url.path} says {response.status_code}")
        if "html" not in response.headers.get("content-type", ""):
            break
        page = Page(response.text)
        form = page.form_with(how.password_field) or (None if submitted else page.form_with(how.login_field))
        if form is not None:
            if submitted:
                raise Unproven(f"{persona.name} cannot sign in: the form came back after login and password")
            response, submitted = await _submit(client, response, form, how, persona), True
        elif page.onward:
            response = await client.get(urljoin(str(response.url), page.onward), follow_redirects=True)
        else:
            break
    me = await client.get(how.me, headers={"Accept": "application/json"})
    # An app of one page answers every address with that page: that is nobody's session.
    if me.status_code != 200 or "json" not in me.headers.get("content-type", ""):
        told = f"{me.status_code} {me.headers.get('content-type', '')}".strip()
        raise Unproven(f"{persona.name} is not signed in after the form: {how.me} says {told}, not who it is")


async def _submit(
    client: httpx2.AsyncClient, page: httpx2.Response, form: Form, how: SignIn, persona: Persona
) -> httpx2.Response:
    fields = form.fields | {how.login_field: persona.login, how.password_field: persona.password}
    url = urljoin(str(page.url), form.action)
    headers = {"Accept": "text/html", "Origin": _origin(str(page.url)), "Sec-Fetch-Site": "same-origin"}
    if form.method == "POST":
        return await client.post(url, data=fields, headers=headers, follow_redirects=True)
    return await client.get(url, params=fields, headers=headers, follow_redirects=True)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
