"""A recorded run through the firmware with `ros2 launch`, as `softctl replay` does: nothing moves.

ros2 launch soft_control replay.launch.py recording:=runs/first/bag target:=sil
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription
from soft_control.launching import arguments_of, softctl

ARGUMENTS = {
    "recording": (None, "A bag or a CSV file of a recorded run."),
    "baseline": ("", "Training runs, with blanks between: also what least squares learns of them."),
    "calibrate_s": ("0.0", "So long, s, measured outputs teach the firmware that day's robot."),
    "out": ("", "Directory for summary.json; empty: none is written."),
}
"""Name -> default and meaning; None: it must be given."""
SHARED = ("model", "firmware", "target", "port")


def start(context):
    said = {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, *SHARED)}
    options = {name: said[name] for name in (*SHARED, "calibrate_s", "out") if said[name]}
    baselines = [("baseline", path) for path in said["baseline"].split()]
    return softctl("replay", [said["recording"]], [*options.items(), *baselines])


def generate_launch_description():
    own = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*own, *arguments_of(*SHARED), OpaqueFunction(function=start)])
