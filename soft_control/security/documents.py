"""Governance and permissions of DDS Security (OMG formal/18-04-01), as SROS 2 uses them.

Every name is escaped where it enters the XML.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree as xml

from soft_control.security.policies import Allowed

SCHEMA = "http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_{}.xsd"
DOMAINS = (0, 230)
"""The first and the last that governance may name (Cyclone DDS refuses more): a run takes one that
is free."""


def governance() -> bytes:
    """Nobody without a key takes part, nothing is said that is not encrypted, and every topic has
    to be allowed. The rest of a packet is signed."""
    root = _root("dds", "governance")
    rule = _under(root, "domain_access_rules", "domain_rule")
    _domains(rule)
    for name, value in (
        ("allow_unauthenticated_participants", "false"),
        ("enable_join_access_control", "true"),
        ("discovery_protection_kind", "ENCRYPT"),
        ("liveliness_protection_kind", "ENCRYPT"),
        ("rtps_protection_kind", "SIGN"),
    ):
        xml.SubElement(rule, name).text = value
    topic = _under(rule, "topic_access_rules", "topic_rule")
    for name, value in (
        ("topic_expression", "*"),
        ("enable_discovery_protection", "true"),
        ("enable_liveliness_protection", "true"),
        ("enable_read_access_control", "true"),
        ("enable_write_access_control", "true"),
        ("metadata_protection_kind", "ENCRYPT"),
        ("data_protection_kind", "ENCRYPT"),
    ):
        xml.SubElement(topic, name).text = value
    return _text(root)


def permissions(subject: str, allowed: Allowed, begins: datetime, ends: datetime) -> bytes:
    """What the one whose certificate names `subject` may, and nothing else. Times are UTC."""
    root = _root("dds", "permissions")
    grant = _under(root, "permissions", "grant")
    grant.set("name", subject)
    xml.SubElement(grant, "subject_name").text = f"CN={subject}"
    validity = xml.SubElement(grant, "validity")
    for name, moment in (("not_before", begins), ("not_after", ends)):
        xml.SubElement(validity, name).text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    rule = xml.SubElement(grant, "allow_rule")
    _domains(rule)
    for what, topics in (("publish", allowed.publishes), ("subscribe", allowed.hears)):
        _topics(rule, what, topics)
    xml.SubElement(grant, "default").text = "DENY"
    return _text(root)


def _root(name: str, schema: str) -> xml.Element:
    instance = "http://www.w3.org/2001/XMLSchema-instance"
    where = {"xmlns:xsi": instance, "xsi:noNamespaceSchemaLocation": SCHEMA.format(schema)}
    return xml.Element(name, where)


def _under(parent: xml.Element, *names: str) -> xml.Element:
    for name in names:
        parent = xml.SubElement(parent, name)
    return parent


def _domains(rule: xml.Element) -> None:
    span = _under(rule, "domains", "id_range")
    for name, number in zip(("min", "max"), DOMAINS, strict=True):
        xml.SubElement(span, name).text = str(number)


def _topics(rule: xml.Element, what: str, topics: Sequence[str]) -> None:
    if topics:
        listed = _under(rule, what, "topics")
        for topic in topics:
            xml.SubElement(listed, "topic").text = topic


def _text(root: xml.Element) -> bytes:
    xml.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root) + b"\n"
