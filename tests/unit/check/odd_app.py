"""An app that is none: it answers every request alike, as `ODD` says, but describes itself well.

`empty` lists no operation, `hang` never answers, `500` and `html` answer that, `garbage` sends bytes that are no JSON,
`list` a list where an object belongs, `slam` closes the connection.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

MODE = os.environ.get("ODD", "empty")
NOTE = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
TENANTS = ("alpha-0000001", "beta-00000002")


def answers(schema: Any) -> dict[str, Any]:
    return {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}


TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
PATHS = {
    "/api/notes": {
        "get": answers({"type": "array", "items": NOTE}),
        "post": {"requestBody": {"content": {"application/json": {"schema": TEXT}}}, **answers({})},
    },
    "/api/notes/{note_id}": {"get": answers(NOTE), "delete": {"responses": {"204": {}}}},
}
OPENAPI = {"openapi": "3.1.0", "info": {"title": "odd", "version": "1"}, "paths": {} if MODE == "empty" else PATHS}
ANSWERS = {
    "500": (500, "application/json", b'{"error": "x"}'),
    "html": (200, "text/html", b"<form><input name=who><input name=pw></form><p>hello"),
    "garbage": (200, "application/json", b"\xff{"),
    "list": (200, "application/json", b'[1, null, "x"]'),
}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            sizes = [line.partition(":")[2] for line in head if line.startswith("content-length:")]
            await reader.readexactly(int(sizes[0]) if sizes else 0)
            status, kind, body = ANSWERS.get(MODE, (404, "application/json", b"{}"))
            if head[0].split(" ")[1] == "/openapi.json":
                status, kind, body = 200, "application/json", json.dumps(OPENAPI).encode()
            elif MODE == "hang":
                await asyncio.sleep(3_600)
            elif MODE == "slam":
                break
            said = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(said.encode() + body)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()


def document(port: int) -> dict[str, Any]:
    people = [(tenant, role) for tenant in TENANTS for role in ("owner", "writer")]
    keys = ("enrol", "add", "prove", "sign_in_options", "sign_in", "remove")
    return {
        "version": 1,
        "app": "odd",
        "base_url": f"http://127.0.0.1:{port}",
        "source": str(Path(__file__).parent),
        "sign_in": {
            "start": "/sign-in",
            "login_field": "who",
            "password_field": "pw",
            "session_cookie": "sid",
            "me": "/me",
            "sign_out": "/out",
            "sign_out_everywhere": "/out-everywhere",
            "totp": "/totp",
            "passkeys": {key: f"/passkeys/{key}" for key in keys},
            "privileged_roles": ["owner"],
        },
        "own_data": {"copy_of": "/copy", "erase": "/erase"},
        "api": {"client_id": "cli", "redirect_uri": "http://127.0.0.1:1/callback"},
        "commands": {name: ["true"] for name in ("suspend", "resume", "export", "erase")},
        "tenants": [{"id": one, "name": one, "objects": {"note_id": [f"note-{one}"]}} for one in TENANTS],
        "personas": [
            {
                "name": f"{tenant}.{role}",
                "tenant": tenant,
                "role": role,
                "user_id": f"{tenant}-{role}",
                "login": f"{role}@{tenant}",
                "password": "correct horse",
                "objects": {"note_id": [f"note-{tenant}"]},
            }
            for tenant, role in people
        ],
        "staff": [
            {"name": name, "tenant": "staff", "role": "staff", "login": name, "password": "correct horse"}
            for name in ("sam", "sue")
        ],
    }


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    path = Path(os.environ["SEAWALL_TARGET_FILE"])
    path.with_suffix(".new").write_text(json.dumps(document(server.sockets[0].getsockname()[1])))
    path.with_suffix(".new").rename(path)
    print("odd is ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
