"""Signing in as a pod: OpenBao's own `kubernetes` method, asking a small API server whether the pod's token is one."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.support.vaults import ScratchVault

from seawall.core.errors import Refused
from seawall.core.vault import VaultUnavailable
from seawall.secrets import Connection, EmbeddedVault, Kubernetes, Mounts, VaultClient

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
REVIEWER, AUDIENCE, UID = "the-vaults-own-token", "vault", "0f6c1a2e-7a53-4a52-9a0b-3d2f1c0b9e11"


@dataclass
class Cluster:
    """A Kubernetes API that answers TokenReviews, and mints the tokens of its pods."""

    url: str = ""
    live: dict[str, str] = field(default_factory=dict)
    """Tokens that it takes, and the account of each."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))

    def token(self, account: str, namespace: str = "shops") -> str:
        now = int(time.time())
        pod = {"namespace": namespace, "serviceaccount": {"name": account, "uid": UID}}
        claims = {"iss": "https://kubernetes.default.svc", "aud": [AUDIENCE], "iat": now, "exp": now + 600,
                  "sub": f"system:serviceaccount:{namespace}:{account}", "kubernetes.io": pod}  # fmt: skip
        made = jwt.encode({"alg": "ES256"}, claims, self.key)
        self.live[made] = f"system:serviceaccount:{namespace}:{account}"
        return made

    def review(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(asked)
        account = self.live.get(asked["spec"]["token"])
        status: dict[str, Any] = {"authenticated": account is not None}
        if account is not None:
            status |= {"user": {"username": account, "uid": UID}, "audiences": [AUDIENCE]}
        return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}


@contextmanager
def answering(cluster: Cluster, certificate: Path, key: Path) -> Iterator[Cluster]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == REVIEWS and self.headers["Authorization"] == f"Bearer {REVIEWER}"
            answer = json.dumps(cluster.review(body) if known else {"kind": "Status", "code": 403}).encode()
            self.send_response(201 if known else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    cluster.url = f"https://127.0.0.1:{server.server_port}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cluster(vault_server: EmbeddedVault) -> Iterator[Cluster]:
    # the certificate is the embedded vault's own: it is for 127.0.0.1 as well
    with answering(Cluster(), vault_server.ca_file, vault_server.home / "server.key") as made:
        yield made


@dataclass
class Pod:
    """A pod of the app: its token is in a file that anybody of the pod may read."""

    client: VaultClient
    token_file: Path
    place: ScratchVault
    mount: str


@pytest.fixture
async def pod(cluster: Cluster, scratch_place: ScratchVault, tmp_path: Path) -> Any:
    mount, prefix = f"kubernetes-{scratch_place.prefix}", scratch_place.prefix
    with scratch_place.provisioner.signed_in() as vault:
        vault.sys.enable_auth_method("kubernetes", path=mount)
        vault.adapter.post(
            f"/v1/auth/{mount}/config",
            json={
                "kubernetes_host": cluster.url,
                "token_reviewer_jwt": REVIEWER,
                "disable_local_ca_jwt": True,
                "kubernetes_ca_cert": scratch_place.server.ca_file.read_text(),
            },
        )
        role = {
            "bound_service_account_names": ["shop"], "bound_service_account_namespaces": ["shops"],
            "audience": AUDIENCE, "token_policies": [f"{prefix}-app"], "token_ttl": "1h",
        }  # fmt: skip
        vault.adapter.post(f"/v1/auth/{mount}/role/shop", json=role)
    file = tmp_path / "token"
    file.write_text(cluster.token("shop") + "\n")
    file.chmod(0o644)
    connection = Connection(
        scratch_place.server.address, Kubernetes("shop", file, mount), ca_file=scratch_place.server.ca_file
    )
    made = Pod(VaultClient(connection, Mounts(prefix)), file, scratch_place, mount)
    yield made
    await made.client.close()
    with scratch_place.provisioner.signed_in() as vault:
        vault.sys.disable_auth_method(mount)


async def test_a_pod_reads_its_secrets_and_no_more(pod: Pod, cluster: Cluster) -> None:
    assert await pod.client.versions("master") == [1]
    assert await pod.client.identity()
    [asked] = cluster.asked
    assert asked["spec"]["token"] == pod.token_file.read_text().strip()
    with pytest.raises(VaultUnavailable):
        await pod.client.write("master", {"value": "mine"})


async def test_the_token_is_read_anew_when_the_kubelet_has_changed_it(pod: Pod, cluster: Cluster) -> None:
    assert await pod.client.versions("master") == [1]
    cluster.live.clear()
    pod.token_file.write_text(cluster.token("shop"))
    await pod.client.close()
    assert await pod.client.versions("master") == [1]
    assert len(cluster.asked) == 2


@pytest.mark.parametrize("who", ["another account", "another namespace", "a revoked token", "not a token", ""])
async def test_nobody_else_gets_in(pod: Pod, cluster: Cluster, who: str) -> None:
    tokens = {
        "another account": cluster.token("courier"),
        "another namespace": cluster.token("shop", "elsewhere"),
        "a revoked token": cluster.token("shop"),
        "not a token": "nonsense",
        "": "",
    }
    if who == "a revoked token":
        del cluster.live[tokens[who]]
    pod.token_file.write_text(tokens[who])
    with pytest.raises(VaultUnavailable, match=r"does not (know|let)"):
        await pod.client.versions("master")


async def test_without_a_token_it_says_so(pod: Pod) -> None:
    pod.token_file.unlink()
    with pytest.raises(Refused, match="cannot be read"):
        await pod.client.versions("master")
