"""What each node of the graph publishes, hears, serves and asks: the least that it needs.

A name is a topic of soft_control/topics.py, below the robot's namespace; `~` is the node's own, and
`=` before a name says that it is below no namespace. `*` stands for any rest, in the words of DDS.
A test compares this table with the sources of the nodes and with a graph that runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from soft_control.topics import (
    ACTUATORS,
    CLOCK,
    COMMAND,
    COMMAND_ASKED,
    CONTROLLER,
    CONTROLLER_ASKED,
    CONTROLLER_RELEASED,
    DIAGNOSTICS,
    FIRMWARE,
    JOINT_STATES,
    MARKERS,
    MCU,
    OUTPUTS,
    POINTS,
    PREDICTED_OUTPUTS,
    REFERENCE,
    ROLL_CALL,
    SIGNALS,
    SIGNALS_RAW,
    SOLVER,
    STATISTICS,
    TF,
    TRACKING_ERROR,
)

ANY = "*"
PARAMETER_SERVICES = (
    "describe_parameters", "get_parameters", "get_parameter_types", "get_type_description",
    "list_parameters", "set_parameters", "set_parameters_atomically",
)  # fmt: skip
LIFECYCLE_SERVICES = (
    "change_state", "get_state", "get_available_states", "get_available_transitions",
    "get_transition_graph",
)  # fmt: skip
HEALTH = (f"={DIAGNOSTICS}", f"~/{STATISTICS}")


@dataclass(frozen=True)
class Policy:
    """Of one node; what every node may is in `of_every_node`."""

    publishes: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    managed: bool = False
    """It has a life cycle, which others may move on."""
    foreign: bool = False
    """What it hears is named by the user: topics of other people's nodes."""


def of_every_node(policy: Policy) -> Policy:
    """With its own log, parameters, roll call and clock."""
    services = [*PARAMETER_SERVICES, *(LIFECYCLE_SERVICES if policy.managed else ())]
    events = ("~/transition_event",) if policy.managed else ()
    return Policy(
        ("=/rosout", "=/parameter_events", ROLL_CALL, *events, *policy.publishes),
        (ROLL_CALL, CLOCK, *policy.hears),
        (*(f"~/{service}" for service in services), *policy.serves),
        policy.asks,
        policy.managed,
        policy.foreign,
    )


SENSOR = Policy((SIGNALS_RAW, SIGNALS, *HEALTH), (CLOCK, COMMAND), managed=True)
ACTUATOR = Policy((ACTUATORS, COMMAND, *HEALTH), (COMMAND_ASKED,), managed=True)
CONTROLLER_NODE = Policy(
    (COMMAND_ASKED, CONTROLLER_RELEASED),
    (OUTPUTS, REFERENCE, CONTROLLER, CONTROLLER_ASKED, COMMAND),
)

POLICIES: dict[str, Policy] = {
    "analogue": ACTUATOR,
    "lightlace": SENSOR,
    "magnetic": Policy((*SENSOR.publishes, f"/magnetic/field_{ANY}"), SENSOR.hears, managed=True),
    "dynamixel": ACTUATOR,
    "hasel_driver": ACTUATOR,
    "pid": CONTROLLER_NODE,
    "pid_feedforward": CONTROLLER_NODE,
    "static_inverse": CONTROLLER_NODE,
    "excitation": Policy(CONTROLLER_NODE.publishes, (SIGNALS, *CONTROLLER_NODE.hears)),
    "reference": Policy((REFERENCE,), (SIGNALS, OUTPUTS)),
    "rig": Policy((OUTPUTS, f"{POINTS}/{ANY}", CLOCK), serves=("~/repeat",)),
    "tracker": Policy((OUTPUTS, f"{POINTS}/{ANY}", *HEALTH), foreign=True),
    "mcu": Policy(
        (COMMAND, COMMAND_ASKED, PREDICTED_OUTPUTS, SOLVER, REFERENCE, SIGNALS, MCU, FIRMWARE,
         CONTROLLER, CONTROLLER_ASKED, *HEALTH),
        (SIGNALS, OUTPUTS, REFERENCE, COMMAND, COMMAND_ASKED, CONTROLLER_RELEASED),
        ("~/restart",),
        ("rig/repeat",),
        managed=True,
    ),
    "codegen": Policy(("~/feedback",), (), ("~/build", "~/cancel", "~/apply"), ("mcu/restart",)),
    "logger": Policy((TRACKING_ERROR, *HEALTH), (ANY,), foreign=True),
    "visual": Policy(
        (MARKERS, JOINT_STATES, f"={TF}"), (OUTPUTS, PREDICTED_OUTPUTS, COMMAND, REFERENCE)
    ),
    "softctl_live": Policy((), (OUTPUTS, REFERENCE, SOLVER)),
    "softctl_monitor": Policy(
        (), (ANY, "=/parameter_events", "=/rosout", f"={DIAGNOSTICS}"), (),
        tuple(f"{ANY}/{service}" for service in PARAMETER_SERVICES), foreign=True,
    ),
}  # fmt: skip
"""By node: those of soft_control/nodes, and the two that look on in softctl itself."""
OF_ALL_ROBOTS = ("softctl_monitor",)
"""Whose enclave is in no namespace."""


@dataclass(frozen=True)
class Allowed:
    """Topics of DDS: what ROS makes of its names."""

    publishes: list[str]
    hears: list[str]


def allowed(node: str, namespace: str = "", topics: tuple[str, ...] = ()) -> Allowed:
    """Of a node of the table, in a namespace such as /left. topics: that a foreign one hears, too,
    with their namespaces. Raises KeyError."""
    policy = of_every_node(POLICIES[node])

    def full(name: str) -> str:
        if name.startswith("="):
            return name[1:]
        if name.startswith("~"):
            return f"{namespace}/{node}{name[1:]}"
        return f"{namespace}/{name.lstrip('/')}"

    heard = [full(name) for name in policy.hears] + list(topics if policy.foreign else ())
    said = [f"rt{full(name)}" for name in policy.publishes]
    takes = [f"rt{name}" for name in heard]
    for name in policy.serves:
        takes.append(f"rq{full(name)}Request")
        said.append(f"rr{full(name)}Reply")
    for name in policy.asks:
        said.append(f"rq{full(name)}Request")
        takes.append(f"rr{full(name)}Reply")
    both = ["ros_discovery_info"]
    return Allowed(sorted({*both, *said}), sorted({*both, *takes}))
