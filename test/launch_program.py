"""What `ros2 launch FILE name:=value …` does; one launch a process, for it has one log."""

import sys

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription, LaunchService

file, *given = sys.argv[1:]
source = PythonLaunchDescriptionSource(file)
arguments = [argument.split(":=", 1) for argument in given]
service = LaunchService(noninteractive=True)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
