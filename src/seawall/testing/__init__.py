"""For an app's own tests: the real app, on a scratch database, over https, with people signed in.

    @pytest.fixture(scope="session")
    def shop():
        with running() as app:
            yield app

    def test_a_courier_sees_no_payment(shop):
        order = shop.client("harbour.courier").get("/api/deliveries").json()[0]
        assert "card_last4" not in order

Nothing is mocked: the sign-in is the OIDC flow, the database is PostgreSQL, the walls are up. Whose role demands a
second factor proves one, with a passkey that lives in this process.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2

from seawall.testing.authenticator import Authenticator

READY_TIMEOUT_S = 60


@dataclass
class RunningApp:
    """A running app and the people it was seeded with."""

    base_url: str
    target: dict[str, Any]
    _clients: dict[str, httpx2.Client] = field(default_factory=dict)
    _passkeys: dict[str, Authenticator] = field(default_factory=dict)

    @property
    def personas(self) -> dict[str, dict[str, Any]]:
        """Everybody the seed named, by name: `tenant`, `role`, `user_id`, `login`, `objects`."""
        return {persona["name"]: persona for persona in self.target["personas"]}

    @property
    def people(self) -> dict[str, dict[str, Any]]:
        """The personas, and the platform's staff, who belong to no tenant and may ask for break-glass."""
        return self.personas | {person["name"]: person for person in self.target.get("staff", ())}

    def client(self, persona: str | None = None) -> httpx2.Client:
        """A client signed in as a persona, kept for the next call; without a name, one that is not signed in."""
        if persona is None:
            return self._new_client()
        if persona not in self._clients:
            self._clients[persona] = self.sign_in(persona)
        return self._clients[persona]

    def sign_in(self, persona: str) -> httpx2.Client:
        """A new session for a persona, through the development provider's form, with the second factor if the role
        demands one. (Enrolling it, at the first time, ends the sessions that the persona had.)
        """
        client = self.half_sign_in(persona)
        if self.people[persona]["role"] in self.target["sign_in"]["privileged_roles"]:
            if persona in self._passkeys:
                self.confirm(persona, client, self.target["sign_in"]["passkeys"]["prove"])
            else:
                self.enrol(persona, client)
        return client

    def enrol(self, persona: str, client: httpx2.Client) -> None:
        """Enrol a passkey for a persona with a client of theirs that has just signed in; their other sessions end."""
        routes = self.target["sign_in"]["passkeys"]
        passkey = self._passkeys[persona] = Authenticator(self.base_url)
        options = _good(client.get(routes["enrol"])).json()["options"]
        _good(client.post(routes["add"], json={"credential": passkey.create(options), "name": "Tests"}))

    def confirm(self, persona: str, client: httpx2.Client, address: str) -> None:
        """Prove with the persona's passkey what `address` asks for, such as the `step_up` of a 401's problem."""
        options = _good(client.get(address)).json()["options"]
        _good(client.post(address, json={"credential": self._passkeys[persona].get(options)}))

    def forget(self, persona: str) -> None:
        """Drop a persona's kept client and passkey, as after the app has forgotten their factors."""
        self._passkeys.pop(persona, None)
        client = self._clients.pop(persona, None)
        if client is not None:
            client.close()

    def half_sign_in(self, persona: str) -> httpx2.Client:
        """A new session that has proved login and password only."""
        known = self.people[persona]
        client = self._new_client()
        start = self.target["sign_in"]
        form_page = client.get(start["start"], follow_redirects=True, headers={"Accept": "text/html"})
        form = _Form(start["login_field"])
        form.feed(form_page.text)
        fields = form.fields | {start["login_field"]: known["login"], start["password_field"]: known["password"]}
        answer = client.post(
            form_page.url.join(form.action), data=fields, follow_redirects=True, headers={"Accept": "text/html"}
        )
        if start["session_cookie"] not in client.cookies:
            raise AssertionError(f"{persona} could not sign in: {answer.status_code} at {answer.url.path}")
        return client

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _new_client(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.base_url,
            verify=ssl.create_default_context(cafile=self.target["ca_file"]),
            headers={"Origin": self.base_url, "Accept": "application/json"},
            timeout=20,
        )


def _good(response: httpx2.Response) -> httpx2.Response:
    if not response.is_success:
        raise AssertionError(f"{response.request.url.path} says {response.status_code}: {response.text[:300]}")
    return response


class _Form(HTMLParser):
    """The action and hidden fields of the form that holds a given field."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self._wanted = wanted
        self._current: tuple[str, dict[str, str]] = ("", {})
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._current = (values.get("action", ""), {})
        elif tag == "input" and values.get("name"):
            self._current[1][values["name"]] = values.get("value", "")
            if values["name"] == self._wanted:
                self.action, self.fields = self._current


@contextmanager
def running(path: Path | str = ".", *, port: int = 0) -> Iterator[RunningApp]:
    """Run the app in `path` on a scratch database until the block ends; `port` 0 picks a free one.

    Raises:
        RuntimeError: it did not start; the message is what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="seawall-test-") as folder:
        target, log_path = Path(folder, "target.json"), Path(folder, "app.log")
        with log_path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "seawall", "dev", "--scratch", "--port", str(port)],
                cwd=path,
                env=os.environ | {"SEAWALL_TARGET_FILE": str(target), "SEAWALL_PARENT_PID": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours: the app is stopped below, once
            )
        try:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not target.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the app did not start:\n{log_path.read_text(errors='replace')[-4000:]}")
                time.sleep(0.05)
            document = json.loads(target.read_text())
            app = RunningApp(document["base_url"], document)
            try:
                yield app
            finally:
                app.close()
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
