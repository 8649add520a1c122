"""The browser edge: the outermost wall, response headers, CSRF, errors, pages, static files and logs.

Start at `wall.Wall`, which every request passes twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from seawall.core.decisions import passage_of, public
from seawall.core.errors import Problem, Refused
from seawall.settings import Settings
from seawall.web import errors, logs, openapi
from seawall.web.assets import STATIC_PATH, Assets
from seawall.web.pages import Pages, money, page
from seawall.web.wall import Wall

__all__ = ["STATIC_PATH", "Pages", "Wall", "include", "money", "page"]


def include(app: FastAPI, *, settings: Settings, template_packages: Sequence[tuple[str, Path]] = ()) -> Pages:
    """Add static files, the API document, error answers and logs to `app`; give its pages.

    Raises:
        Refused: when the app was made with `debug=True`.
    """
    if app.debug:
        raise Refused(
            "FastAPI(debug=True)",
            why="its error page shows the source, the stack and every local variable to the caller",
            fix="remove debug=True; the stack is in the log, under the trace id of the answer",
        )
    logs.configure(production=settings.production, messages=settings.web.log_exception_text)
    # A redirect that no route decided would be an undecided answer; `/orders/` is simply not `/orders`.
    app.router.redirect_slashes = False
    assets = Assets(settings.root / "static", reread=not settings.production)
    _serve(app, assets)
    openapi.include(app, settings)
    for kind in (Problem, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)
    return Pages(settings, assets, template_packages)


async def _answer(request: Request, error: Exception) -> Response:
    return errors.answer(request, passage_of(request), error)


def _serve(app: FastAPI, assets: Assets) -> None:
    @app.get(f"{STATIC_PATH}/{{name:path}}", include_in_schema=False, dependencies=[public("static files of pages")])
    async def static_file(name: str, v: str = "") -> Response:
        return assets.respond(name, v)
