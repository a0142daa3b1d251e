"""One experiment with `ros2 launch`: the same graph that `softctl run` starts.

    ros2 launch soft_control experiment.launch.py controller:=mpc target:=pil out:=runs/first

Arguments are the options of `softctl run`; `ros2 launch -s soft_control experiment.launch.py` lists
them.
"""

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from pydantic import ValidationError

from launch import LaunchDescription
from soft_control.experiment.bringup import prepare
from soft_control.experiment.runner import write_parameters
from soft_control.experiment.settings import Experiment
from soft_control.plain_text import first_fault

FIELDS = Experiment.model_fields
LOGGER_PATIENCE_S = "600"
"""The logger may have minutes of samples to write and to sum up; launch would kill it at 15 s."""


def start(context):
    """Starts the graph of the experiment that the arguments describe.

    Raises ValueError before any process starts where something is wrong with it.
    """
    values = {name: LaunchConfiguration(name).perform(context) for name in FIELDS}
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None
    return [
        Node(
            package="soft_control",
            executable=node.name,
            name=node.name,
            parameters=[str(write_parameters(node, experiment.out.absolute()))],
            output="screen",
            on_exit=ended(node.name),
            **({"sigkill_timeout": LOGGER_PATIENCE_S} if node.name == "logger" else {}),
        )
        for node in prepare(experiment)
    ]


def ended(name):
    """The rig ends a run; any node that ends before it ends the run too. The logger sums it up."""

    def stop(event, context):
        if event.returncode:
            # Shutdown alone would let `ros2 launch` return 0; an exception does not.
            raise RuntimeError(f"{name} failed with exit code {event.returncode}")
        return [EmitEvent(event=Shutdown(reason=f"{name} ended"))]

    return stop


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(
            name,
            default_value="" if field.default is None else str(field.default),
            description=field.description,
        )
        for name, field in FIELDS.items()
    ]
    unbuffered = SetEnvironmentVariable("PYTHONUNBUFFERED", "1")
    return LaunchDescription([*arguments, unbuffered, OpaqueFunction(function=start)])
