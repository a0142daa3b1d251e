"""One experiment with `ros2 launch`: the same graph that `softctl run` starts.

    ros2 launch soft_control experiment.launch.py controller:=mpc target:=pil out:=runs/first

Arguments are the options of `softctl run`; `ros2 launch -s soft_control experiment.launch.py` lists
them.
"""

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription
from soft_control.experiment.bringup import prepare
from soft_control.experiment.settings import Experiment

FIELDS = Experiment.model_fields


def start(context):
    """Starts the graph of the experiment that the arguments describe."""
    values = {name: LaunchConfiguration(name).perform(context) for name in FIELDS}
    experiment = Experiment.model_validate(values)
    return [
        Node(
            package="soft_control",
            executable=node.name,
            name=node.name,
            parameters=[node.parameters],
            output="screen",
            on_exit=ended(node.name),
        )
        for node in prepare(experiment)
    ]


def ended(name):
    """The rig ends a run; any node that ends before it ends the run too. The logger sums it up."""

    def stop(event, context):
        if event.returncode:
            return [
                LogInfo(msg=f"{name} failed"),
                EmitEvent(event=Shutdown(reason=f"{name} failed")),
            ]
        return [EmitEvent(event=Shutdown(reason=f"{name} ended"))]

    return stop


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=str(field.default), description=field.description)
        for name, field in FIELDS.items()
    ]
    unbuffered = SetEnvironmentVariable("PYTHONUNBUFFERED", "1")
    return LaunchDescription([*arguments, unbuffered, OpaqueFunction(function=start)])
