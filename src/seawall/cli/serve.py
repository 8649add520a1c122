"""`seawall serve`: run the app in production."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer


def serve(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The app's folder.", show_default="here")] = Path(),
    *,
    host: Annotated[str, typer.Option(help="Listen here; behind a proxy, loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
    certificate: Annotated[Path | None, typer.Option(help="PEM chain, to speak https here.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
) -> None:
    """Run the app with SEAWALL_ENV=production: your PostgreSQL, your provider, nothing embedded."""
    import uvicorn

    from seawall.app import import_app
    from seawall.core.errors import Refused
    from seawall.settings import load

    os.environ.setdefault("SEAWALL_ENV", "production")
    settings = load(path)
    if not settings.production:
        raise Refused(
            "`seawall serve` with SEAWALL_ENV=development",
            why="development has a sign-in that anyone can use",
            fix="unset SEAWALL_ENV, or use `seawall dev`",
        )
    os.environ["SEAWALL_ROOT"] = str(settings.root)
    # Every gate runs once here, where a refusal can be read; in a worker it would drown in a stack trace.
    asyncio.run(import_app(settings).state.seawall.check())
    uvicorn.run(
        settings.app.module,
        host=host,
        port=port,
        workers=workers,
        app_dir=str(settings.root),
        lifespan="on",
        ws="none",
        access_log=False,
        log_config=None,  # its lines go through our logs, which escape what a request may put into them
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_ciphers="ECDHE+AESGCM:ECDHE+CHACHA20",
    )
