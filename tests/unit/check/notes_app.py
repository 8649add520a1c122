"""A small app that the judge's own tests judge: two tenants, notes, a sign-in by redirects, a form and a callback page.

It needs no Seawall and no database, which shows that the judge works on any app with an OpenAPI document. `NOTES_BAD=1`
makes it forget whose note it is; `NOTES_REFUSE=1` makes it refuse to start; `NOTES_HANG=1` makes it ignore SIGTERM.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Cookie, FastAPI, Form, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel

BAD = os.environ.get("NOTES_BAD") == "1"
PASSWORD = "correct horse battery staple"
PEOPLE = {"ann@alpha.example": "alpha", "ben@beta.example": "beta"}
NOTES = {"n-alpha": ("alpha", "alpha's note"), "n-beta": ("beta", "beta's note")}

app = FastAPI(title="notes")
states: set[str] = set()
codes: dict[str, str] = {}
sessions: dict[str, str] = {}


class NoteIn(BaseModel):
    text: str


def caller(session: str | None) -> str:
    if session not in sessions:
        raise HTTPException(401)
    return sessions[session]


@app.get("/sign-in", include_in_schema=False)
async def start() -> RedirectResponse:
    states.add(state := secrets.token_urlsafe(16))
    return RedirectResponse(f"/provider?state={state}", 303)


@app.get("/provider", include_in_schema=False)
async def provider(state: str) -> HTMLResponse:
    return HTMLResponse(
        f'<form method=post action="/provider"><input type=hidden name=state value="{state}">'
        "<input name=who><input name=pw type=password><button name=go value=1>Sign in</button></form>"
    )


@app.post("/provider", include_in_schema=False)
async def form(state: Annotated[str, Form()], who: Annotated[str, Form()], pw: Annotated[str, Form()]) -> HTMLResponse:
    if state not in states or who not in PEOPLE or pw != PASSWORD:
        return await provider(state)
    codes[code := secrets.token_urlsafe(16)] = who
    return RedirectResponse(f"/callback?code={code}", 303)  # type: ignore[return-value]


@app.get("/callback", include_in_schema=False)
async def callback(code: str) -> HTMLResponse:
    sessions[session := secrets.token_urlsafe(32)] = codes.pop(code)
    page = HTMLResponse("<script>location.replace('/home')</script>")
    page.set_cookie("sid", session, httponly=True, samesite="strict")
    return page


@app.get("/home", include_in_schema=False)
async def home(sid: Annotated[str | None, Cookie()] = None) -> HTMLResponse:
    return HTMLResponse(f"<p>Hello {caller(sid)}<form><input name=who></form>")


@app.get("/me")
async def me(sid: Annotated[str | None, Cookie()] = None) -> dict[str, str]:
    return {"login": caller(sid)}


@app.get("/notes/{note_id}")
async def read(note_id: str, sid: Annotated[str | None, Cookie()] = None) -> dict[str, str]:
    tenant = PEOPLE[caller(sid)]
    owner, text = NOTES.get(note_id, ("", ""))
    if not text or (owner != tenant and not BAD):
        raise HTTPException(404)
    return {"text": text}


@app.post("/notes/{note_id}")
async def write(note_id: str, body: NoteIn, sid: Annotated[str | None, Cookie()] = None) -> dict[str, str]:
    tenant = PEOPLE[caller(sid)]
    if NOTES.get(note_id, (tenant,))[0] != tenant:
        raise HTTPException(404)
    NOTES[note_id] = (tenant, body.text)
    return {"text": body.text}


def main() -> None:
    if os.environ.get("NOTES_REFUSE") == "1":
        sys.exit("refused: a route declares nothing\n  fix: declare it")
    if os.environ.get("NOTES_HANG") == "1":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    path = Path(os.environ["SEAWALL_TARGET_FILE"])
    path.with_suffix(".new").write_text(json.dumps(document(port)))
    path.with_suffix(".new").rename(path)
    print("notes is ready", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    if os.environ.get("NOTES_HANG") == "1":
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        server.handle_exit = lambda *_: None  # type: ignore[method-assign]
    server.run(sockets=[listener])


def document(port: int) -> dict[str, object]:
    return {
        "version": 1,
        "app": "notes",
        "base_url": f"http://127.0.0.1:{port}",
        "source": str(Path(__file__).parent),
        "a_member_of_a_later_version": True,
        "sign_in": {
            "start": "/sign-in",
            "login_field": "who",
            "password_field": "pw",
            "session_cookie": "sid",
            "me": "/me",
        },
        "tenants": [
            {"id": "alpha", "name": "Alpha", "objects": {"note_id": ["n-alpha"]}},
            {"id": "beta", "name": "Beta", "objects": {"note_id": ["n-beta"]}},
        ],
        "personas": [
            {"name": f"{tenant}.writer", "tenant": tenant, "role": "writer", "login": login, "password": PASSWORD}
            for login, tenant in PEOPLE.items()
        ],
    }


if __name__ == "__main__":
    main()
