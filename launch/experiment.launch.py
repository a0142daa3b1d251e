"""One experiment with `ros2 launch`: the same graph that `softctl run` starts.

    ros2 launch soft_control experiment.launch.py controller:=mpc target:=pil out:=runs/first

Arguments are the options of `softctl run`; `ros2 launch -s soft_control experiment.launch.py` lists
them.
"""

from launch.actions import OpaqueFunction

from launch import LaunchDescription
from soft_control.launching import arguments, experiment, experiments


def start(context):
    return experiments(context, [experiment(context)])


def generate_launch_description():
    return LaunchDescription([*arguments(), OpaqueFunction(function=start)])
