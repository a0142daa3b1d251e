"""A keystore as SROS 2 reads it: one authority, and an enclave with a key for each node.

    KEYS/public/ca.cert.pem            the authority, for everyone
    KEYS/private/ca.key.pem            its key: who has it can let anyone in
    KEYS/enclaves/governance.p7s
    KEYS/enclaves/left/mcu/            key, certificate and permissions of the node mcu of /left

Nothing in it can be read by others than its owner.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from soft_control.security.documents import governance, permissions
from soft_control.security.policies import OF_ALL_ROBOTS, POLICIES, Allowed, allowed

NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)*")
NAME_MAX = 64
"""Characters of a common name in X.509."""
AUTHORITY = "soft_control"
CA_CERTIFICATE, CA_KEY = "public/ca.cert.pem", "private/ca.key.pem"
GOVERNANCE = "enclaves/governance.p7s"
DAYS_MAX = 3650


class KeystoreError(ValueError):
    """Keys cannot be made of what was asked for; the message is one line."""


@dataclass(frozen=True)
class Authority:
    """Who signs: certificate and key, as `cryptography` has them."""

    certificate: Any
    key: Any


def make_keystore(
    folder: Path,
    namespace: str = "",
    nodes: Sequence[str] = (),
    days: int = 365,
    topics: Sequence[str] = (),
) -> list[str]:
    """Keys and permissions of the nodes of a robot; returns the names of their enclaves.

    A keystore that is there gets what it lacks of another namespace; keys of nodes that it has
    already are made anew, by the same authority. nodes: of `POLICIES`; default: all. topics: that
    the nodes may hear, too, which hear other people's.

    Raises KeystoreError, before anything is written; OSError.
    """
    check_name(namespace, "namespace")
    for topic in topics:
        check_name(topic, "topic")
    for node in nodes:
        if node not in POLICIES:
            raise KeystoreError(f"no node {node!r}; there are {', '.join(POLICIES)}")
    if not 1 <= days <= DAYS_MAX:
        raise KeystoreError(f"{days} days: from 1 to {DAYS_MAX}")
    spaces = {node: "" if node in OF_ALL_ROBOTS else namespace for node in nodes or POLICIES}
    names = {node: f"{space}/{node}" for node, space in spaces.items()}
    for name in names.values():
        check_name(name, "enclave")
    now = datetime.now(timezone.utc).replace(microsecond=0)
    begins, ends = now - timedelta(minutes=5), now + timedelta(days=days)
    _private_folder(folder)
    authority = _authority(folder, begins, now + timedelta(days=DAYS_MAX))
    _write(folder / GOVERNANCE, _signed(governance(), authority))
    _write(folder / "enclaves/governance.xml", governance())
    for node, name in names.items():
        write_enclave(
            folder, name, allowed(node, spaces[node], tuple(topics)), authority, begins, ends
        )
    return sorted(names.values())


def write_enclave(
    folder: Path, name: str, may: Allowed, authority: Authority, begins: datetime, ends: datetime
) -> None:
    """Key, certificate and permissions of the enclave of that name. Raises OSError."""
    from cryptography.hazmat.primitives.serialization import Encoding

    key, certificate = _identity(name, authority, begins, ends)
    rights = permissions(name, may, begins, ends)
    place = folder / "enclaves" / name.lstrip("/")
    public = authority.certificate.public_bytes(Encoding.PEM)
    for file, content in {
        "key.pem": key,
        "cert.pem": certificate,
        "identity_ca.cert.pem": public,
        "permissions_ca.cert.pem": public,
        "governance.p7s": _signed(governance(), authority),
        "permissions.xml": rights,
        "permissions.p7s": _signed(rights, authority),
    }.items():
        _write(place / file, content)


def check_name(name: str, what: str) -> None:
    """Raises KeystoreError for one of which ROS makes no name, or X.509 no subject."""
    if not NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise KeystoreError(
            f"{what} {name!r}: parts of letters, digits and _, a letter first, each behind a /, "
            f"and at most {NAME_MAX} characters"
        )


# --------------------------------------------------------------------------- files


def _private_folder(folder: Path) -> None:
    """One that only its owner looks into; what lies in it already stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others, not even for a moment. A link that stands
    there is replaced, not followed."""
    for parent in reversed(path.parents):  # mkdir gives the mode to the last one only
        if not parent.exists():
            parent.mkdir(mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# --------------------------------------------------------------------------- keys


def _authority(folder: Path, begins: datetime, ends: datetime) -> Authority:
    """The one that is there, or a new one."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    certificate, key = folder / CA_CERTIFICATE, folder / CA_KEY
    if certificate.is_file() and key.is_file():
        try:
            return Authority(
                x509.load_pem_x509_certificate(certificate.read_bytes()),
                load_pem_private_key(key.read_bytes(), None),
            )
        except ValueError as error:
            raise KeystoreError(f"{key}: no authority of a keystore: {error}") from None
    secret = _new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, AUTHORITY)])
    made = _certificate(name, name, secret.public_key(), secret, begins, ends, authority=True)
    _write(certificate, made.public_bytes(Encoding.PEM))
    _write(key, _pem(secret))
    return Authority(made, secret)


def _identity(
    subject: str, authority: Authority, begins: datetime, ends: datetime
) -> tuple[bytes, bytes]:
    """Key and certificate, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    key = _new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    made = _certificate(
        name, authority.certificate.subject, key.public_key(), authority.key, begins, ends
    )
    return _pem(key), made.public_bytes(Encoding.PEM)


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(
    subject: Any,
    issuer: Any,
    public: Any,
    signer: Any,
    begins: datetime,
    ends: datetime,
    authority: bool = False,
) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def _signed(content: bytes, authority: Authority) -> bytes:
    """As S/MIME: the text, and behind it who signed it."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    return (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(content)
        .add_signer(authority.certificate, authority.key, hashes.SHA256())
        .sign(Encoding.SMIME, [pkcs7.PKCS7Options.Text, pkcs7.PKCS7Options.DetachedSignature])
    )
