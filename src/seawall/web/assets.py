"""Static files: a fixed list made at start, so that no path from a request ever reaches the file system.

`/seawall/static/seawall.css` comes from this package, `/seawall/static/app/logo.svg` from the app's own `static/`.
Addresses from `url()` carry the content's hash and may be cached for ever; others must be asked for again each time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

from seawall.core.errors import NotFound, Refused

STATIC_PATH = "/seawall/static"
APP_FOLDER = "app"
FILES_MAX = 2_000
TOTAL_MAX_BYTES = 64 * 1024 * 1024

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
"""What is served at all. No HTML: a static page would be one without a nonce or a decision."""


@dataclass(frozen=True, slots=True)
class Asset:
    path: Path
    modified_ns: int
    content: bytes
    media_type: str
    version: str

    @classmethod
    def read(cls, path: Path) -> Asset:
        content = path.read_bytes()
        version = hashlib.sha256(content).hexdigest()[:16]
        return cls(path, path.stat().st_mtime_ns, content, MEDIA_TYPES[path.suffix], version)


class Assets:
    """The static files of one app.

    Args:
        own: the app's `static/` folder; it may be absent.
        reread: whether a changed file is read again (development).

    Raises:
        Refused: when there are more than `FILES_MAX` files or `TOTAL_MAX_BYTES` bytes.
    """

    def __init__(self, own: Path, *, reread: bool) -> None:
        self._reread = reread
        self._assets: dict[str, Asset] = {}
        for prefix, folder in (("", Path(__file__).parent / "static"), (f"{APP_FOLDER}/", own)):
            for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
                if path.suffix in MEDIA_TYPES and path.is_file() and not path.is_symlink():
                    self._add(prefix + path.relative_to(folder).as_posix(), path)

    def _add(self, name: str, path: Path) -> None:
        self._assets[name] = Asset.read(path)
        total = sum(len(asset.content) for asset in self._assets.values())
        if len(self._assets) > FILES_MAX or total > TOTAL_MAX_BYTES:
            raise Refused(
                f"{path.parent} holds more static files than {FILES_MAX} files or {TOTAL_MAX_BYTES} bytes",
                why="they are held in memory, so that no request can name a file",
                fix="serve large media from object storage",
            )

    def get(self, name: str) -> Asset:
        """The file of that name.

        Raises:
            NotFound: when there is none.
        """
        asset = self._assets.get(name)
        if asset is None:
            raise NotFound()
        if self._reread and asset.path.exists() and asset.path.stat().st_mtime_ns != asset.modified_ns:
            asset = self._assets[name] = Asset.read(asset.path)
        return asset

    def url(self, name: str) -> str:
        """The address of a file, with its version: `{{ static("seawall.css") }}`.

        Raises:
            NotFound: when there is none, so that a typing mistake shows at once.
        """
        return f"{STATIC_PATH}/{name}?v={self.get(name).version}"

    def respond(self, name: str, version: str) -> Response:
        """The file as a response."""
        asset = self.get(name)
        for_ever = version == asset.version
        cache = "public, max-age=31536000, immutable" if for_ever else "public, no-cache"
        return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": cache})
