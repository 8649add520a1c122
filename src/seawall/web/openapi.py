"""The description of the API: one decided route in place of FastAPI's three undecided ones.

FastAPI serves `/openapi.json`, `/docs` and `/redoc` to anyone; the two pages load scripts from a public CDN. Here the
document is public in development, where the judge and the author read it, and for signed-in people in production
(ASVS 13.4.5). It also says what really comes back when something is refused: problem details.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from seawall.core.decisions import public, self_service
from seawall.settings import Settings
from seawall.web.errors import PROBLEM_TYPE

OPENAPI_PATH = "/openapi.json"

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "code", "trace_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "trace_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


def include(app: FastAPI, settings: Settings) -> None:
    """Take FastAPI's documentation routes out of `app` and add ours."""
    own = {app.openapi_url, app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url} - {None}
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) not in own]
    app.docs_url = app.redoc_url = None
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(describe())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    who = (
        self_service("the API's description is for the people who use it")
        if settings.production
        else public("the API's description holds no data; development only")
    )

    @app.get(OPENAPI_PATH, include_in_schema=False, dependencies=[who])
    async def openapi_document(_request: Request) -> JSONResponse:
        return JSONResponse(app.openapi())


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Replace FastAPI's default 422 by a `default` response of problem details on every operation."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    refusal = {
        "description": "Refused, or failed",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            if isinstance(operation, dict) and "responses" in operation:
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = refusal
    return document
