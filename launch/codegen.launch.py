"""Firmware from a training run with `ros2 launch`: built, verified, its size and error said last.

    ros2 launch soft_control codegen.launch.py model:=models/tendon firmware:=build/tendon

Exit code 0 where there is a new firmware; else the one that was there stays. With once:=false the
node stays, and builds when it is asked: ros2 service call /codegen/build std_srvs/srv/Trigger
"""

import os

import launch.logging
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessIO
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription
from soft_control.paths import config
from soft_control.processes import PARENT
from soft_control.security.enclaves import enclave_words

LAST_WORDS_S = 0.2
"""What a process has written may come a moment after the news of its end."""
ARGUMENTS = {
    "model": ("", "Directory of `softctl train`."),
    "firmware": ("", "Directory for the firmware; what is there stays until another is whole."),
    "robot": ("", "A later description of the same robot, by file or name."),
    "board": ("", "A folder of firmware/boards, built beside the host's."),
    "verify": (
        "sil pil",
        "Where it is compared with its model: sil pil, sil, or nothing.",
    ),
    "apply": ("none", "What follows: none, restart (the node mcu) or flash."),
    "flash_by": ("", "swd, dfu or serial: as `softctl flash` says."),
    "flash_port": ("", "Serial port of the board, with flash_by serial."),
    "once": ("true", "Builds and ends; false: builds when it is asked."),
    "params_file": (str(config("codegen")), "Parameters, over which the arguments above go."),
}
"""Name -> default and meaning. What is empty is left to the parameter file."""


def start(context):
    """The node, with the arguments that say something; its end is the launch's."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    file = given.pop("params_file")
    parameters = {name: value for name, value in given.items() if value}
    parameters["verify"] = given["verify"].replace(",", " ").split() or [""]
    parameters["once"] = given["once"].lower() == "true"
    said = []
    node = Node(
        package="soft_control",
        executable="codegen",
        name="codegen",
        ros_arguments=enclave_words("codegen") or None,
        parameters=[file, parameters],
        output="screen",
        # launch leaves its processes behind where it is killed.
        additional_env={PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        on_exit=lambda event, context: TimerAction(
            period=LAST_WORDS_S,
            actions=[OpaqueFunction(function=conclude, args=[event.returncode, said])],
            cancel_on_shutdown=False,
        ),
    )

    def keep(event):
        said.extend(event.text.decode(errors="replace").splitlines())

    heard = OnProcessIO(target_action=node, on_stdout=keep, on_stderr=keep)
    return [RegisterEventHandler(heard), node]


def conclude(context, code, said):
    """Says last how it ended. An exception is how launch gets an exit code other than 0."""
    if code:
        errors = [line for line in said if line.startswith("error: ")]
        raise RuntimeError(
            (errors or [f"codegen ended with exit code {code}"])[-1].removeprefix("error: ")
        )
    results = [line for line in said if line.startswith("firmware ")]
    launch.logging.get_logger("soft_control").info((results or ["codegen has ended"])[-1])
    return [EmitEvent(event=Shutdown(reason="codegen ended"))]


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
