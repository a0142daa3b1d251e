"""Installs with pip (wheels, venv) and with colcon (ament_python) alike."""

from pathlib import Path

from setuptools import Distribution, find_packages, setup

NAME = "soft_control"
NODES = (
    "analogue",
    "codegen",
    "dynamixel",
    "excitation",
    "hasel_driver",
    "lightlace",
    "logger",
    "magnetic",
    "mcu",
    "pid",
    "pid_feedforward",
    "reference",
    "rig",
    "static_inverse",
    "tracker",
    "visual",
)
"""What `ros2 run` offers: modules of soft_control/nodes with a main()."""

LAUNCHER = """#!/usr/bin/env python3
from soft_control.nodes.{node} import main

main()
"""


class WithDataFiles(Distribution):
    """An editable install asks for `has_data` before it installs data_files."""

    has_data = Distribution.has_data_files


def launchers() -> list[str]:
    """`ros2 run` and `ros2 launch` look for a node's executable in lib/soft_control."""
    folder = Path("build/launchers")
    folder.mkdir(parents=True, exist_ok=True)
    for node in NODES:
        path = folder / node
        path.write_text(LAUNCHER.format(node=node))
        path.chmod(0o755)
    return [str(folder / node) for node in NODES]


def tree(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below `folder`, to stand at the same place below share/soft_control."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    parents = sorted({path.parent for path in files})
    return [
        (f"share/{NAME}/{parent}", sorted(str(path) for path in files if path.parent == parent))
        for parent in parents
    ]


setup(
    name=NAME,
    distclass=WithDataFiles,
    version="0.1.0",
    description="Predictive control that lives inside soft robots",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["soft_control*", "nn4mc_codegen*"]),
    package_data={
        "soft_control": ["templates/*"],
        "soft_control.monitor": ["static/*"],
        "nn4mc_codegen.printing": ["templates/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"lib/{NAME}", launchers()),
        *tree("config"),
        *tree("launch"),
        *tree("urdf"),
        *tree("rviz"),
        *tree("foxglove"),
        *tree("plotjuggler"),
        *tree("firmware"),
    ],
    install_requires=[
        "aiohttp>=3.9",  # the monitor's server
        "cmaes>=0.11",  # optuna's CMA-ES sampler
        "cobs>=1.2",
        "flatbuffers>=23.5.26",
        "h5py>=3.10",
        "jinja2>=3.1",
        "lz4>=4.0",  # what rosbags unpacks, within limits
        "matplotlib>=3.10",
        "numpy>=1.26",
        "optuna>=4.0",
        "pydantic>=2.6",
        "pyelftools>=0.31",
        "pyserial>=3.5",
        "pyyaml>=6.0",
        "rich>=13.7",
        "rosbags>=0.11",
        "scipy>=1.11",
        "setproctitle>=1.3",
        "tflite>=2.18",
        "typer>=0.29",
        "typing_extensions>=4.6",
    ],
    extras_require={
        "train": ["tensorflow-cpu>=2.18"],
        "campaign": ["dask[distributed]>=2024.8", "pyarrow>=15"],
        "design": ["optuna>=5.0", "pyarrow>=15.0"],
        # The very ROS 2 as wheels; where a system ROS 2 is sourced, leave this extra out.
        "ros": [
            "ros-rclpy>=9.1",
            "ros-rmw-fastrtps-cpp",
            "ros-std-msgs",
            "ros-std-srvs",
            "ros-sensor-msgs",
            "ros-geometry-msgs",
            "ros-diagnostic-msgs",
            "ros-lifecycle-msgs",
            "ros-rosgraph-msgs",
            "ros-trajectory-msgs",
            "ros-visualization-msgs",
        ],
        "flash": ["pyocd>=0.36"],  # a debug probe's wire; serial and USB boot loaders need none
        "secure": ["cryptography>=42"],  # keys for the ROS graph
        "onnx": ["onnx>=1.16"],  # to read models of PyTorch, JAX and others
        "mujoco": ["mujoco>=3.2"],  # second opinions on the rigs
        "test": [
            "casadi>=3.6",
            "cryptography>=42",
            "dynamixel-sdk>=4.0",  # Robotis' own packets
            "hypothesis>=6.100",
            "kinpy>=0.6",  # forward kinematics of the URDF files
            "magpylib>=5.1",
            "mcap>=1.1",
            "onnx>=1.23",  # whose own tests of its operators are counted
            "onnxruntime>=1.22",
            "pyocd>=0.36",
            "pytest>=8.0,<9",  # launch_testing does not load in pytest 9
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "selenium>=4.20",  # the monitor's page in Chromium
            "tf_keras>=2.18",  # writes files as Keras 2 did
            "xacro>=2.1",
        ],
    },
    entry_points={
        "console_scripts": [
            "softctl = soft_control.cli:main",
            "nn4mc = nn4mc_codegen.cli:main",
        ],
    },
    zip_safe=False,
)
