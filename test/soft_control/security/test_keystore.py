"""softctl secure: files that SROS 2 reads, signed, private, and narrow; hostile names in them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

pytest.importorskip("cryptography", reason="needs pip install soft_control[secure]")

from soft_control.experiment.runner import ros_domain
from soft_control.security.documents import governance, permissions
from soft_control.security.enclaves import enclave_words, init_words
from soft_control.security.keystore import KeystoreError, check_name, make_keystore
from soft_control.security.policies import POLICIES, Allowed, allowed

FILES = {
    "cert.pem", "governance.p7s", "identity_ca.cert.pem", "key.pem", "permissions.p7s",
    "permissions.xml", "permissions_ca.cert.pem",
}  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secure") / "keys"
    make_keystore(folder, "/left", ("mcu", "logger", "softctl_monitor"))
    return folder


def openssl(*words: object) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rules(document: bytes) -> dict[str, list[str]]:
    """Topics by what may be done with them."""
    rule = xml.fromstring(document).find("permissions/grant/allow_rule")
    return {
        what: [topic.text or "" for topic in rule.findall(f"{what}/topics/topic")]
        for what in ("publish", "subscribe")
    }


def test_the_layout_is_that_of_sros2(keys):
    assert {p.name for p in (keys / "enclaves/left/mcu").iterdir()} == FILES
    assert {p.name for p in (keys / "enclaves/softctl_monitor").iterdir()} == FILES
    assert (keys / "public/ca.cert.pem").is_file()
    assert sorted(p.name for p in (keys / "enclaves").iterdir()) == [
        "governance.p7s", "governance.xml", "left", "softctl_monitor",
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_follows_every_chain_and_signature(keys):
    ca = keys / "public/ca.cert.pem"
    for enclave in ("left/mcu", "left/logger", "softctl_monitor"):
        place = keys / "enclaves" / enclave
        openssl("verify", "-CAfile", ca, place / "cert.pem")
        subject = openssl("x509", "-in", place / "cert.pem", "-noout", "-subject")
        assert subject.strip() == f"subject=CN = /{enclave}"
        key = openssl("pkey", "-in", place / "key.pem", "-pubout")
        assert key == openssl("x509", "-in", place / "cert.pem", "-noout", "-pubkey")
        for name in ("governance", "permissions"):
            signed = openssl(
                "smime", "-verify", "-text", "-CAfile", ca, "-in", place / f"{name}.p7s"
            )
            plain = (keys / "enclaves/governance.xml" if name == "governance" else
                     place / "permissions.xml").read_text()  # fmt: skip
            assert signed.replace("\r\n", "\n") == plain


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_permission_that_somebody_has_widened_is_not_signed(keys, tmp_path):
    signed = (keys / "enclaves/left/logger/permissions.p7s").read_bytes()
    wider = signed.replace(b"tracking_error", b"command_______")
    assert wider != signed
    (tmp_path / "wider.p7s").write_bytes(wider)
    done = subprocess.run(
        ["openssl", "smime", "-verify", "-text", "-CAfile", str(keys / "public/ca.cert.pem"),
         "-in", str(tmp_path / "wider.p7s")], capture_output=True,
    )  # fmt: skip
    assert done.returncode != 0


def test_nobody_else_reads_anything_of_it(keys):
    for path in (keys, *keys.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_umask_makes_nothing_wider_and_links_are_not_followed(tmp_path):
    before = os.umask(0)
    try:
        victim = tmp_path / "victim"
        victim.write_text("mine")
        place = tmp_path / "keys/enclaves/pid"
        place.mkdir(parents=True)
        (place / "key.pem").symlink_to(victim)
        make_keystore(tmp_path / "keys", nodes=("pid",))
    finally:
        os.umask(before)
    assert victim.read_text() == "mine"
    assert not (place / "key.pem").is_symlink()
    assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert not [p for p in (tmp_path / "keys").rglob(".*")]


def test_each_may_what_it_needs_and_nothing_else(keys):
    mcu = rules((keys / "enclaves/left/mcu/permissions.xml").read_bytes())
    assert "rt/left/command" in mcu["publish"] and "rt/left/outputs" in mcu["subscribe"]
    assert "rq/left/mcu/restartRequest" in mcu["subscribe"]
    assert "rr/left/mcu/restartReply" in mcu["publish"]
    assert "rt/left/outputs" not in mcu["publish"]
    assert not any("*" in topic for topic in mcu["publish"] + mcu["subscribe"])
    for enclave in ("left/logger", "softctl_monitor"):  # who looks on says nothing to anyone
        rights = rules((keys / "enclaves" / enclave / "permissions.xml").read_bytes())
        for topic in ("rt/left/command", "rt/left/command/asked", "rt/left/reference"):
            assert not any(fnmatchcase(topic, may) for may in rights["publish"]), enclave
            assert any(fnmatchcase(topic, may) for may in rights["subscribe"]), enclave
    right = "rt/right/command"
    assert not any(fnmatchcase(right, may) for may in mcu["publish"] + mcu["subscribe"])


def test_nobody_commands_but_controllers_and_actuators():
    """Who may publish what moves the robot."""

    def may(topic: str) -> set[str]:
        return {
            node for node in POLICIES
            if any(fnmatchcase(topic, said) for said in allowed(node).publishes)
        }  # fmt: skip

    assert may("rt/command") == {"analogue", "dynamixel", "hasel_driver", "mcu"}
    assert may("rt/command/asked") == {
        "pid", "pid_feedforward", "static_inverse", "excitation", "mcu",
    }  # fmt: skip
    assert may("rt/clock") == {"rig"}
    assert may("rq/mcu/change_stateRequest") == set()
    assert may("rq/mcu/restartRequest") == {"codegen"}


def test_a_second_robot_has_the_same_authority_and_new_keys_replace_the_old(keys, tmp_path):
    shutil.copytree(keys, tmp_path / "keys")
    folder = tmp_path / "keys"
    authority = (folder / "public/ca.cert.pem").read_bytes()
    first = (folder / "enclaves/left/mcu/key.pem").read_bytes()
    make_keystore(folder, "/right", ("mcu",))
    assert (folder / "enclaves/left/mcu/key.pem").read_bytes() == first
    make_keystore(folder, "/left", ("mcu",))
    assert (folder / "enclaves/left/mcu/key.pem").read_bytes() != first
    assert (folder / "public/ca.cert.pem").read_bytes() == authority
    (folder / "private/ca.key.pem").write_text("nonsense")
    with pytest.raises(KeystoreError, match="private/ca.key.pem: no authority of a keystore"):
        make_keystore(folder, "/left", ("mcu",))


HOSTILE = [
    "left", "/", "/left/", "//left", "/../left", "/le ft", "/left;rm", "/$(x)", "/l\n", "/é",
    "/<b>", "/&amp;", '/"', "/1x", "/-x", "/" + "x" * 64, "/left\0", "/*", "/CN=x", "/x/../..",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(name, tmp_path):
    for call in (
        lambda: make_keystore(tmp_path / "keys", name),
        lambda: make_keystore(tmp_path / "keys", topics=(name,)),
    ):
        with pytest.raises(KeystoreError, match="parts of letters, digits and _"):
            call()
    with pytest.raises(KeystoreError, match="^no node "):
        make_keystore(tmp_path / "keys", nodes=(name,))
    assert list(tmp_path.iterdir()) == []


@given(name=st.text(max_size=20))
@hypothesis_settings(max_examples=60, deadline=None)
def test_whatever_a_name_is_it_stays_text(name):
    """In the XML, where the table of nodes would ever have such a one."""
    now = datetime.now(timezone.utc)
    try:
        document = permissions(name, Allowed([name], [name]), now, now)
        root = xml.fromstring(document)
    except (xml.ParseError, UnicodeEncodeError, ValueError):
        assert not name.isprintable()  # which XML cannot hold
        return
    assert len(root.findall(".//grant")) == 1 and len(root.findall(".//topic")) == 2
    if name.isprintable():
        assert rules(document)["publish"] == [name]
    try:
        check_name(name, "name")
    except KeystoreError:
        return
    assert not name or name[0] == "/"


def test_governance_lets_nobody_in_without_a_key():
    rule = xml.fromstring(governance()).find("domain_access_rules/domain_rule")
    said = {one.tag: one.text for one in rule.iter()}
    assert said["allow_unauthenticated_participants"] == "false"
    assert said["enable_join_access_control"] == said["enable_write_access_control"] == "true"
    assert said["data_protection_kind"] == said["discovery_protection_kind"] == "ENCRYPT"


def test_nodes_name_their_enclave_where_there_is_a_keystore(monkeypatch):
    monkeypatch.delenv("ROS_SECURITY_KEYSTORE", raising=False)
    assert enclave_words("mcu", "/left") == [] and init_words("softctl_live") is None
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", "/keys")
    assert enclave_words("mcu", "/left") == ["--enclave", "/left/mcu"]
    assert init_words("softctl_live") == ["--ros-args", "--enclave", "/softctl_live"]


# ------------------------------------------------------------------ who enforces it


def test_the_wheels_rcl_finds_the_enclave_and_says_what_its_dds_lacks(keys):
    """The ROS of the wheels looks the files up; its Fast DDS was built without security, and then
    no node starts at all: it does not go on in the clear."""
    pytest.importorskip("rclpy")
    code = "import rclpy, sys; rclpy.init(args=sys.argv); rclpy.create_node('mcu')"

    def start(enclave: str) -> str:
        with ros_domain():
            done = subprocess.run(
                [sys.executable, "-c", code, "--ros-args", "--enclave", enclave],
                env=os.environ | {
                    "ROS_SECURITY_KEYSTORE": str(keys), "ROS_SECURITY_ENABLE": "true",
                    "ROS_SECURITY_STRATEGY": "Enforce",
                },
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        if done.returncode == 0:
            pytest.skip("this ROS has security, and the node has started with these keys")
        return done.stderr

    assert "left/nobody' does not exist" in start("/left/nobody")
    said = start("/left/mcu")
    assert "does not exist" not in said
    assert "doesn't have the security libraries" in said
