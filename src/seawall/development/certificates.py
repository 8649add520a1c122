"""A development certificate authority, so that `__Host-` cookies and HSTS are real from the first run.

The key stays in the app's state folder (mode 0600), is valid for this machine's loopback names only, and dies in a
year.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME_DAYS = 365
LEAF_LIFETIME_DAYS = 30
HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files."""

    ca: Path
    certificate: Path
    key: Path


def ensure(folder: Path) -> Certificates:
    """The development CA and a server certificate for loopback names; made, or made anew when they run out."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that start at once share one CA
        if _still_good(paths):
            return paths
        ca_key, ca = _authority()
        key, leaf = _leaf(ca_key, ca)
        _write(paths.ca, ca.public_bytes(serialization.Encoding.PEM))
        _write(paths.key, _pem(key))
        chain = leaf.public_bytes(serialization.Encoding.PEM) + ca.public_bytes(serialization.Encoding.PEM)
        _write(paths.certificate, chain)
    return paths


def _still_good(paths: Certificates) -> bool:
    try:
        leaf = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
        ca = x509.load_pem_x509_certificate(paths.ca.read_bytes())
        key = serialization.load_pem_private_key(paths.key.read_bytes(), None)
        leaf.verify_directly_issued_by(ca)
    except Exception:  # whatever is wrong with them, new ones mend it
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    return key.public_key() == leaf.public_key() and leaf.not_valid_after_utc > soon and ca.not_valid_after_utc > soon


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _begun(lifetime_days: int, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=lifetime_days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    # name constraints: even a stolen development key cannot vouch for a name on the internet (RFC 5280 §4.2.1.10)
    permitted: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
        x509.IPAddress(ipaddress.ip_network("::1/128")),
    ]
    name = _name("Seawall development CA")
    certificate = (
        _begun(CA_LIFETIME_DAYS, key)
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _leaf(
    ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [
        x509.DNSName(host) if host == "localhost" else x509.IPAddress(ipaddress.ip_address(host)) for host in HOSTS
    ]
    certificate = (
        _begun(LEAF_LIFETIME_DAYS, key)
        .subject_name(_name("localhost"))
        .issuer_name(ca.subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return key, certificate


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
    aside.replace(path)
