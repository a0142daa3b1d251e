"""Recordings to learn from with `ros2 launch`: open-loop runs, as `softctl collect` makes them.

    ros2 launch soft_control record.launch.py rig:=tendon runs:=4 out:=data/tendon
    ros2 launch soft_control record.launch.py sim:=false lace_port:=/dev/ttyUSB0 \\
        servo_port:=/dev/ttyUSB1 tracker:=true params_file:=laboratory.yaml out:=data/monday

One bag a run, in OUT/run_SEED, one run after the other.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription
from soft_control.launching import arguments, experiment, experiments

FOR_CONTROLLERS = (
    *("controller", "target", "wiring", "host_lost", "cut", "reference", "load"),
    *("model", "firmware", "port"),
)


def start(context):
    runs = LaunchConfiguration("runs").perform(context)
    if not runs.isdecimal() or int(runs) < 1:
        raise ValueError(f"runs:={runs}: wanted a whole number of at least 1")
    asked = experiment(context, controller="excitation")
    seeds = range(asked.seed, asked.seed + int(runs))
    return experiments(
        context,
        [asked.model_copy(update={"seed": s, "out": asked.out / f"run_{s}"}) for s in seeds],
    )


def generate_launch_description():
    own = {"duration_s": 60.0, "seed": 100, "out": "data/tendon"}
    runs = DeclareLaunchArgument(
        "runs", default_value="4", description="How many; each has a seed of its own, one up."
    )
    return LaunchDescription(
        [*arguments(*FOR_CONTROLLERS, **own), runs, OpaqueFunction(function=start)]
    )
