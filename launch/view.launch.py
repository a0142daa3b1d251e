"""What viewers need of a run that goes on elsewhere: joints, links, markers; and RViz, if asked.

    ros2 launch soft_control view.launch.py robot:=tendon rviz:=true

It looks on and may come and go; ROS_DOMAIN_ID must be that of the run, which says it. With
namespace:=left it shows the robot whose nodes are below /left; its frames then begin with left/.
"""

import importlib.util
import tempfile

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription
from soft_control.experiment.viewers import rviz_file
from soft_control.network import keep_to_loopback
from soft_control.paths import config
from soft_control.rigs import describe
from soft_control.robots.links import urdf_file
from soft_control.security.enclaves import enclave_words

ARGUMENTS = {
    "robot": ("tendon", "Whom to draw: a rig, the directory of a twin, or a description."),
    "namespace": ("", "Below which the robot's nodes and topics are, e.g. left."),
    "visual": ("true", "Starts the node that says what to draw; false where the run has it."),
    "rviz": ("false", "Starts RViz with rviz/soft_control.rviz."),
    "use_sim_time": ("true", "Time is that of /clock, as in lockstep; false in realtime."),
    "trajectory": ("", "CSV file of the reference, RUN/trajectory.csv; else what is seen of it."),
    "horizon": ("0", "Samples of it that the controller sees, where it was told beforehand."),
}


def start(context):
    """The nodes that the arguments ask for. What is not installed is left out, and said."""
    keep_to_loopback(context.environment)
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    namespace = given["namespace"].strip("/")
    prefix = f"{namespace}/" if namespace else ""
    sim_time = {"use_sim_time": is_true("use_sim_time", given)}
    actions = []
    if is_true("visual", given):
        told = {name: given[name] for name in ("robot", "trajectory")}
        told |= {"horizon": int(given["horizon"]), "frame_prefix": prefix}
        actions.append(
            Node(
                package="soft_control",
                executable="visual",
                name="visual",
                namespace=namespace,
                ros_arguments=enclave_words("visual", f"/{namespace}" if namespace else "") or None,
                parameters=[str(config("visual")), told],
                output="screen",
            )
        )
    robot = describe(given["robot"])
    actions += links(robot.name, namespace, prefix, sim_time)
    if is_true("rviz", given):
        actions += rviz(namespace, robot.frame, sim_time)
    return actions


def is_true(name, given):
    if given[name] not in ("true", "false", "True", "False"):
        raise ValueError(f"{name}:={given[name]}: wanted true or false")
    return given[name].lower() == "true"


def links(robot, namespace, prefix, sim_time):
    """robot_state_publisher with the robot's URDF."""
    file = urdf_file(robot)
    if not file.is_file():
        return [LogInfo(msg=f"{robot} has no {file.name}: its points are drawn, no links")]
    if importlib.util.find_spec("xacro") is None:
        return [LogInfo(msg="no links are drawn: install xacro")]
    if not installed("robot_state_publisher"):
        return [LogInfo(msg="no links are drawn: install robot_state_publisher")]
    import xacro

    described = {"robot_description": xacro.process_file(str(file)).toxml()}
    return [
        Node(
            package="robot_state_publisher",
            executable="robot_state_publisher",
            namespace=namespace,
            parameters=[described | {"frame_prefix": prefix} | sim_time],
            output="screen",
        )
    ]


def rviz(namespace, frame, sim_time):
    """RViz, with topics and frames of the robot's namespace."""
    if not installed("rviz2"):
        return [LogInfo(msg="no RViz: install rviz2")]
    with tempfile.NamedTemporaryFile("w", suffix=".rviz", delete=False) as file:
        file.write(rviz_file(namespace, frame))
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            namespace=namespace,
            arguments=["-d", file.name],
            parameters=[sim_time],
            output="screen",
        )
    ]


def installed(package):
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=words)
        for name, (default, words) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
