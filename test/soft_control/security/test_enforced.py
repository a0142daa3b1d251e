"""A DDS that was built with security, on the files of `softctl secure`: Cyclone DDS of Debian.

Its own measuring program takes the part of the nodes: its topics are in the permissions, in place
of ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="needs pip install soft_control[secure]")

from soft_control.security import keystore
from soft_control.security.documents import permissions
from soft_control.security.keystore import make_keystore, write_enclave
from soft_control.security.policies import Allowed

PLUGINS = next(iter(Path("/usr/lib").glob("*/libddsc0debian")), None)
TOPICS = "DDSPerf*"
REFUSED = "dds_create_writer(DDSPerfRDataKS) failed: -13"
"""-13: not allowed by security."""

pytestmark = pytest.mark.skipif(
    shutil.which("ddsperf") is None or PLUGINS is None,
    reason="needs ddsperf: apt install cyclonedds-tools",
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("enforced") / "keys"
    make_keystore(folder, nodes=("pid",))
    now = datetime.now(timezone.utc)
    begins, ends = now - timedelta(hours=1), now + timedelta(hours=1)
    authority = keystore._authority(folder, begins, ends)
    for name, said in (("/writer", [TOPICS]), ("/mute", ["DDSPerfC*", "DDSPerfRP*"])):
        may = Allowed(said, [TOPICS])
        write_enclave(folder, name, may, authority, begins, ends)
        # Its pings are in partitions, which nodes of ROS do not use.
        every = b"</topics><partitions><partition>*</partition></partitions>"
        rights = permissions(name, may, begins, ends).replace(b"</topics>", every)
        place = folder / "enclaves" / name.lstrip("/") / "permissions.p7s"
        place.write_bytes(keystore._signed(rights, authority))
    return folder


def configuration(keys: Path, enclave: str | None) -> str:
    """Cyclone's, for the loopback alone; None: without keys."""
    security = ""
    if enclave:
        folder = keys / "enclaves" / enclave
        parts = {
            ("Authentication", "auth", "authentication"): {
                "IdentityCertificate": "cert.pem",
                "IdentityCA": "identity_ca.cert.pem",
                "PrivateKey": "key.pem",
            },
            ("AccessControl", "ac", "access_control"): {
                "PermissionsCA": "permissions_ca.cert.pem",
                "Governance": "governance.p7s",
                "Permissions": "permissions.p7s",
            },
            ("Cryptographic", "crypto", "crypto"): {},
        }
        for (part, library, name), files in parts.items():
            inside = "".join(f"<{k}>file:{folder / v}</{k}>" for k, v in files.items())
            security += (
                f'<{part}><Library path="{PLUGINS}/libdds_security_{library}.so" '
                f'initFunction="init_{name}" finalizeFunction="finalize_{name}"/>{inside}</{part}>'
            )
        security = f"<Security>{security}</Security>"
    return (
        '<CycloneDDS><Domain id="any"><General><Interfaces><NetworkInterface name="lo"/>'
        "</Interfaces><AllowMulticast>false</AllowMulticast></General><Discovery>"
        '<ParticipantIndex>auto</ParticipantIndex><Peers><Peer Address="127.0.0.1"/></Peers>'
        f"</Discovery>{security}</Domain></CycloneDDS>"
    )


@pytest.fixture(scope="module")
def said(keys) -> dict[str | None, tuple[str, str]]:
    """By writer, what it and a reader say in two seconds; each pair in a domain of its own."""

    def start(domain: int, enclave: str | None, *words: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["ddsperf", "-i", str(domain), "-D", "2.5", *words],
            env=os.environ | {"CYCLONEDDS_URI": configuration(keys, enclave)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    pairs = {
        writer: (
            start(domain, writer, "pub", "size", "64", "100Hz"),
            start(domain, "writer", "sub"),
        )
        for domain, writer in enumerate(("writer", "mute", None), 77)
    }
    return {
        writer: tuple(one.communicate(timeout=30)[0] for one in pair)
        for writer, pair in pairs.items()
    }


def test_what_is_allowed_arrives(said):
    assert "size 64 total" in said["writer"][1]


def test_what_is_not_allowed_cannot_be_said(said):
    assert REFUSED in said["mute"][0] and "size 64 total" not in said["mute"][1]


def test_nobody_without_a_key_is_heard(said):
    assert REFUSED not in said[None][0] and "size 64 total" not in said[None][1]
