"""The roll call: who takes part in a run, whether all are matched, and whose messages count."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from soft_control.experiment.ros_messages import LATCHED
from soft_control.topics import ROLL_CALL, relative

POLL_S = 0.02
LOOKING_ON_S = 2.0
"""After the last call; discovery has taken up to 3 s, and is mostly over by then."""
REMIND_S, REMINDING_S = 0.12, 3.0
"""Who has missed something asks for it within 0.11 s; after so long without news, nobody has."""
REFUSED_FOR_S = 1.0
"""So long the graph is not asked again who a publisher is that was refused."""


class RollCall:
    """Discovery takes from 40 ms to 3 s, and a sample published before all are matched would be
    lost. So each node tells on roll_call what it subscribes to and by which publishers it speaks;
    when all peers have told, each knows how many subscribers its topics must match, waits for
    them, and tells that it is matched. The rig takes the first sample when everyone is.

    From then on a node knows the publishers of the run, and takes messages from no others. A node
    that stands alone takes a topic from whoever speaks first, as long as that one is there.
    """

    def __init__(
        self,
        node: Node,
        peers: Sequence[str],
        foreign: Sequence[str],
        foreign_s: float,
        on_everyone_matched: Callable[[], None],
    ) -> None:
        """peers, foreign: names of nodes, as seen from the namespace of `node`. The foreign ones
        know no roll call; they must have spoken to the graph within foreign_s."""
        self._node, self._on_everyone_matched = node, on_everyone_matched
        own = node.get_fully_qualified_name()
        self._peers = {self.full_name(peer) for peer in peers} or {own}
        self._alone = not peers and not foreign
        self._foreign, self._foreign_s = {self.full_name(name) for name in foreign}, foreign_s
        self._started_s = self._called_s = self._reminded_s = self._news_s = time.monotonic()
        self._listens: list[str] = []
        self._calls: dict[str, dict[str, Any]] = {}
        self._matched = self._complete = False
        self._speakers: dict[str, set[bytes]] = {}
        self._refused: dict[bytes, float] = {}
        self._told = node.create_publisher(String, relative(ROLL_CALL), LATCHED)
        node.create_subscription(String, relative(ROLL_CALL), self._on_call, LATCHED)
        self._poll = node.create_timer(POLL_S, self._match)

    def full_name(self, name: str) -> str:
        """Of a node: /namespace/name."""
        namespace = self._node.get_namespace().rstrip("/")
        return name if name.startswith("/") else f"{namespace}/{name}"

    def listens_to(self, topic: str) -> None:
        """A resolved topic, before `present`."""
        self._listens.append(topic)

    def present(self) -> None:
        """Tells the others that all endpoints exist and that samples may come."""
        own = self._node.get_fully_qualified_name()
        call = {
            "node": own,
            "listens": self._listens,
            "speaks": [
                bytes(endpoint.endpoint_gid).hex()
                for publisher in self._node.publishers
                for endpoint in self._node.get_publishers_info_by_topic(publisher.topic_name)
                if _full_name(endpoint) == own
            ],
            "matched": self._matched,
        }
        self._told.publish(String(data=json.dumps(call)))

    def _on_call(self, message: String) -> None:
        call = json.loads(message.data)
        if call["node"] not in self._peers:
            return
        self._calls[call["node"]] = call
        self._news_s = time.monotonic()
        everyone = all(self._calls.get(peer, {}).get("matched") for peer in self._peers)
        if self._matched and everyone and not self._complete:
            self._complete = True
            self._node.destroy_timer(self._poll)
            self._on_everyone_matched()

    def _remind(self) -> None:
        """Has the middleware tell all endpoints of this node again to those who missed some: it
        does so with the next endpoint that comes or goes, and else once a second (Fast DDS,
        EDPSimple's edp_heartbeat_period). Who hears of an endpoint before he knows its node has
        missed it, as happens where nodes start at the same moment."""
        node, topic = self._node, f"{relative(ROLL_CALL)}/reminder"
        node.destroy_publisher(node.create_publisher(String, topic, LATCHED))
        node.destroy_subscription(
            node.create_subscription(String, topic, lambda message: None, LATCHED)
        )

    def _match(self) -> None:
        """Raises RuntimeError for foreign nodes that do not come."""
        node = self._node
        now_s = time.monotonic()
        if now_s - self._reminded_s > REMIND_S and now_s - self._news_s < REMINDING_S:
            self._reminded_s = now_s
            self._remind()
        if self._matched:
            return
        if not self._peers <= self._calls.keys():
            self._called_s = now_s
            return
        if missing := self._foreign - self._foreigners():
            if now_s - self._started_s > self._foreign_s:
                raise RuntimeError(
                    f"{', '.join(sorted(missing))} has not come within wait_for_s = "
                    f"{self._foreign_s:g} s: start it, or take it out of wait_for"
                )
            return
        if all(map(self._is_heard, node.publishers)):
            self._matched = True
            self.present()

    def _is_heard(self, publisher: Any) -> bool:
        """Whether all peers that listen to its topic are matched. Others may look on, such as a
        monitor, and be matched in their place: then all that are there have to be, unless one of
        them cannot be, which asks for other guarantees than are given."""
        topic, matched = publisher.topic_name, publisher.get_subscription_count()
        listens = [
            call["node"] for call in self._calls.values() for t in call["listens"] if t == topic
        ]
        if matched < len(listens):
            return False
        there = [_full_name(e) for e in self._node.get_subscriptions_info_by_topic(topic)]
        if any(there.count(name) < listens.count(name) for name in listens):
            return False
        return matched >= len(there) or time.monotonic() - self._called_s > LOOKING_ON_S

    def _foreigners(self) -> set[str]:
        """Those that speak on a topic that this node hears, or hear one on which it speaks."""
        node = self._node
        found = {
            _full_name(endpoint)
            for topic in self._listens
            for endpoint in node.get_publishers_info_by_topic(topic)
        }
        return found | {
            _full_name(endpoint)
            for publisher in node.publishers
            for endpoint in node.get_subscriptions_info_by_topic(publisher.topic_name)
        }

    def accepts(self, topic: str, speaker: bytes, foreign: bool = False) -> bool:
        """Whether a message counts that came on a resolved topic from the publisher of that gid.
        foreign: of a topic that is none of the run's; who speaks first has it."""
        accepted = self._speakers.setdefault(topic, set())
        if speaker in accepted:
            return True
        now_s = time.monotonic()
        if now_s - self._refused.get(speaker, -REFUSED_FOR_S) < REFUSED_FOR_S:
            return False
        if any(speaker.hex() in call["speaks"] for call in self._calls.values()):
            accepted.add(speaker)
            return True
        found = {
            bytes(endpoint.endpoint_gid): _full_name(endpoint)
            for endpoint in self._node.get_publishers_info_by_topic(topic)
        }
        name = found.get(speaker)
        first_has_it = foreign or self._alone
        if name in self._foreign or (first_has_it and not accepted & found.keys()):
            accepted.add(speaker)
            return True
        if self._peers - self._calls.keys() and not foreign:
            return False  # it may yet turn out to be one of ours
        self._refused = {s: t for s, t in self._refused.items() if now_s - t < REFUSED_FOR_S}
        self._refused[speaker] = now_s
        of = "has one that came first" if first_has_it else "is of a run that it does not belong to"
        self._node.get_logger().warning(
            f"refused what {name or 'somebody unknown'} says on {topic}, which {of}"
        )
        return False


def _full_name(endpoint: Any) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
