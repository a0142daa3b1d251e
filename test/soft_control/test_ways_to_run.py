"""A run started by softctl and by `ros2 launch`, each for real: what it prints last, its exit code,
what it leaves. The launch tools come with ROS 2, not with its wheels: without them that half skips.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.experiment.rig_device import RigDevice  # noqa: E402
from soft_control.learning.bag import read_topics  # noqa: E402
from soft_control.paths import share  # noqa: E402
from soft_control.rigs import make_rig  # noqa: E402
from soft_control.shared_memory import clear_shared_memory  # noqa: E402

from .sockets import bound_udp  # noqa: E402

NODES = Path(__file__).resolve().parents[2] / "soft_control" / "nodes"
ROS2 = [sys.executable, "-c", "from ros2cli.cli import main; raise SystemExit(main())"]
COMMANDS = {"experiment": "run", "record": "collect", "replay": "replay"}
"""Launch file -> command of softctl that does the same."""


@dataclass
class Way:
    """One of the two, and what it says of an option."""

    launches: bool
    environment: dict[str, str]

    def command(self, launch_file: str = "experiment", **options: object) -> list[str]:
        if self.launches:
            path = share() / "launch" / f"{launch_file}.launch.py"
            given = [f"{name}:={value}" for name, value in options.items()]
            return [*ROS2, "launch", str(path), *given]
        command = [sys.executable, "-m", "soft_control.cli", COMMANDS[launch_file]]
        for name, value in options.items():
            option = name.replace("_", "-")
            if name == "recording":
                command.append(str(value))
            elif value is True or value is False:
                command.append(f"--{'' if value else 'no-'}{option}")
            else:
                command += [f"--{option}", str(value)]
        return command

    def start(self, *of: str, **options: object) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(*of, **options),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Tests that run in the background of a shell have inherited that nobody hears it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *of: str, **options: object) -> tuple[int, list[str]]:
        """Exit code, and the lines that it printed."""
        process = self.start(*of, **options)
        return ended(process)

    def says(self, option: str) -> str:
        """An option in messages."""
        return f"{option}:=" if self.launches else f"--{option.replace('_', '-')}"


def ended(process: subprocess.Popen) -> tuple[int, list[str]]:
    try:
        said, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, [line for line in said.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ROS finds the package: as an installation has it, whatever is installed."""
    folder = tmp_path_factory.mktemp("prefix")
    for place in ("share/ament_index/resource_index/packages", "lib/soft_control"):
        (folder / place).mkdir(parents=True)
    (folder / "share/ament_index/resource_index/packages/soft_control").touch()
    for path in NODES.glob("[a-z]*.py"):
        node = folder / "lib" / "soft_control" / path.stem
        node.write_text(
            f"#!{sys.executable}\nfrom soft_control.nodes.{path.stem} import main\nmain()\n"
        )
        node.chmod(0o755)
    return folder


def environment(prefix: Path) -> dict[str, str]:
    """Of somebody who has set nothing about the network."""
    found = {key: value for key, value in os.environ.items() if not key.startswith("ROS_")}
    found.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
    packages = [str(prefix), os.environ.get("AMENT_PREFIX_PATH", sys.prefix)]
    checkout = [str(NODES.parents[1]), os.environ.get("PYTHONPATH", "")]
    return found | {
        "AMENT_PREFIX_PATH": os.pathsep.join(packages),
        "PYTHONPATH": os.pathsep.join(filter(None, checkout)),
        "ROS_LOG_DIR": str(prefix / "log"),
    }


def launch_way(prefix: Path) -> Way:
    for module in ("launch_ros", "ros2cli", "ros2launch"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: it comes with a ROS 2 installation")
    return Way(True, environment(prefix))


@pytest.fixture(params=["softctl", "ros2 launch"])
def way(request: pytest.FixtureRequest, prefix: Path) -> Way:
    return launch_way(prefix) if request.param != "softctl" else Way(False, environment(prefix))


def processes_of(out: Path) -> dict[str, int]:
    """Name -> pid of all that know of a run: nodes by their parameter file, QEMU by the sockets or
    the firmware that stand in no other run, as a child of a node."""
    found, parents = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents[int(process.name)] = parent, Path(words.split("\0")[0]).name
        if match := re.search(re.escape(str(out)) + r"/parameters/(\w+)\.yaml", words):
            found[match[1]] = int(process.name)
    nodes = set(found.values())
    return found | {name: pid for pid, (parent, name) in parents.items() if parent in nodes}


def is_there(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def under_way(process: subprocess.Popen, out: Path) -> dict[str, int]:
    """The processes of a run that has samples."""
    deadline = time.monotonic() + 240
    bag = out / "bag" / "bag.mcap"
    while not (bag.exists() and bag.stat().st_size > 50_000):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the run did not get under way"
        time.sleep(0.05)
    return processes_of(out)


def shared_memory_of(pids: Iterable[int]) -> set[Path]:
    """Files of shared memory that these processes use."""
    found: set[Path] = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            maps = Path(f"/proc/{pid}/maps").read_text()
            found |= {Path(name) for name in re.findall(r"/dev/shm/fast\S+", maps)}
    return found


def nothing_is_left(pids: dict[str, int], memory: set[Path]) -> None:
    deadline = time.monotonic() + 120
    while left := [name for name, pid in pids.items() if is_there(pid)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.1)
    # Some are of all graphs of a machine: others may go on with them.
    ports = {path for path in memory if "_port" in path.name}
    assert not [path for path in memory - ports - used_by_others() if path.exists()]
    # A port that another graph was using when this one cleared up stays behind when that one ends,
    # which may be at any moment, until the next one clears up.
    while left := ports_left(ports):
        assert time.monotonic() < deadline, f"left behind: {left}"
        clear_shared_memory()
        time.sleep(0.1)


def ports_left(ports: set[Path]) -> list[Path]:
    """Those that nobody uses. One that nobody has locked is taken by the next graph."""
    locked = [path for path in ports - used_by_others() if any(ports_locks(path))]
    return [path for path in locked if path.exists()]


def used_by_others() -> set[Path]:
    return shared_memory_of(int(path.name) for path in Path("/proc").glob("[0-9]*"))


def ports_locks(path: Path) -> Iterator[Path]:
    return path.parent.glob(f"{path.name}_[es]l")


OTHERS = ("lightlace", "excitation", "dynamixel")


def test_a_run_ends_with_its_result(way: Way, tmp_path: Path):
    out = tmp_path / "run"
    code, lines = way.run(controller="excitation", duration_s=1.0, out=out)
    assert code == 0, lines
    assert "open loop: recorded 120 samples in" in lines[-1] and str(out) in lines[-1]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["samples"], summary["complete"]) == (120, True)
    nodes = {"rig", "lightlace", "excitation", "dynamixel", "logger"}
    assert {path.stem for path in (out / "log").iterdir()} == nodes
    assert {path.stem for path in (out / "parameters").iterdir()} == nodes
    assert not processes_of(out)
    assert not [line for line in lines if "has died" in line or "Traceback" in line], lines


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"out": "taken"}, "choose another {out}"),
        ({"reference": "none.csv", "controller": "pid"}, "model"),
        ({"rate_hz": "nan"}, "rate_hz|rate-hz"),
        ({"controller": "lqr"}, "controller"),
        ({"params_file": "none.yaml"}, "{params_file}.*none.yaml: no such file"),
        ({"sensor_port": "/dev/ttyS99"}, "{sensor_port}.* {sim}"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(options, said, way: Way, tmp_path: Path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").touch()
    given = {"controller": "excitation", "out": tmp_path / "run"} | options
    if options.get("out"):
        given["out"] = tmp_path / options["out"]
    if options.get("reference"):
        given["model"] = tmp_path
    code, lines = way.run(**given)
    assert code == (1 if way.launches else 2)
    words = {name: re.escape(way.says(name)) for name in ("out", "params_file", "sensor_port")}
    words["sim"] = "sim:=false" if way.launches else "--no-sim"
    # softctl explains wrong options in a frame of several lines.
    assert re.search(said.format(**words), lines[-1] if way.launches else " ".join(lines))
    assert not (tmp_path / "run").exists() and not any("process started" in x for x in lines)


@pytest.mark.parametrize(
    "node",
    ["rig", "logger", *(pytest.param(n, marks=pytest.mark.long) for n in OTHERS)],
)
def test_a_node_that_is_killed_is_a_failure(node: str, way: Way, tmp_path: Path):
    out = tmp_path / "run"
    process = way.start(controller="excitation", duration_s=600.0, out=out)
    pids = under_way(process, out)
    memory = shared_memory_of(pids.values())
    assert memory
    os.kill(pids[node], signal.SIGKILL)
    code, lines = ended(process)
    assert code == 1
    assert f"{node} was killed by SIGKILL" in lines[-1] and str(out) in lines[-1]
    nothing_is_left(pids, memory)


def test_a_controller_that_is_killed_is_a_failure(way: Way, tendon, tmp_path: Path):
    """An emulator that is killed is started again: see test_returning_session.py."""
    out = tmp_path / "run"
    files = {"model": tendon.model, "firmware": tendon.firmware}
    process = way.start(duration_s=600.0, out=out, **files)
    pids = under_way(process, out)
    os.kill(pids["mcu"], signal.SIGKILL)
    code, lines = ended(process)
    assert code == 1 and "mcu was killed" in lines[-1], lines
    nothing_is_left(pids, set())


def test_a_rig_that_is_told_to_stop_has_not_ended_the_run(way: Way, tmp_path: Path):
    out = tmp_path / "run"
    process = way.start(controller="excitation", duration_s=600.0, out=out)
    pids = under_way(process, out)
    os.kill(pids["rig"], signal.SIGTERM)
    code, lines = ended(process)
    assert code == 1 and re.search("the run ended after .* of 600 s", lines[-1])
    nothing_is_left(pids, set())


@pytest.mark.parametrize(
    "how",
    [
        "SIGINT",
        "SIGKILL",
        *(pytest.param(n, marks=pytest.mark.long) for n in ("SIGTERM", "SIGHUP")),
    ],
)
def test_however_it_is_stopped_nothing_is_left(how: str, way: Way, tendon, tmp_path: Path):
    out = tmp_path / "run"
    files = {"model": tendon.model, "firmware": tendon.firmware}
    process = way.start(duration_s=600.0, out=out, **files)
    pids = under_way(process, out)
    memory = shared_memory_of(pids.values())
    process.send_signal(signal.Signals[how])
    code, lines = ended(process)
    if how == "SIGINT":
        assert code == (0 if way.launches else 130)
        assert "what was recorded until then is in" in " ".join(lines[-3:])
    nothing_is_left(pids, memory)
    assert len(read_topics(out / "bag", ("/outputs",))[0]["/outputs"]) > 20


def test_the_graph_is_on_this_machine_alone(way: Way, tmp_path: Path):
    out = tmp_path / "run"
    process = way.start(controller="excitation", duration_s=600.0, out=out)
    pids = under_way(process, out)
    bound = [place for pid in pids.values() for place in bound_udp(pid)]
    process.send_signal(signal.SIGINT)
    ended(process)
    assert {address for address, _ in bound} == {"127.0.0.1"}
    # A domain has 250 ports from 7400 on; domain 0 is everybody's.
    (domain,) = {(port - 7400) // 250 for _, port in bound}
    assert domain > 0


def test_parameters_of_ones_own_go_over_those_of_the_run(way: Way, tmp_path: Path):
    file = tmp_path / "own.yaml"
    of_all, of_one = {"silence_timeout_s": 7.0}, {"pace": 0.5}
    sections = {"/**": of_all, "/left/excitation": of_one}
    file.write_text(yaml.dump({k: {"ros__parameters": v} for k, v in sections.items()}))
    options = {"controller": "excitation", "duration_s": 0.5, "namespace": "left"}
    code, lines = way.run(out=tmp_path / "run", params_file=file, **options)
    assert code == 0, lines
    for node, key, value in (("excitation", "pace", 0.5), ("lightlace", "silence_timeout_s", 7.0)):
        told = yaml.safe_load((tmp_path / "run" / "parameters" / f"{node}.yaml").read_text())
        assert told[f"/left/{node}"]["ros__parameters"][key] == value
    recorded = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert recorded["given"]["excitation"] == {"pace": 0.5}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"excitation": {"pace": -1.0}}, "excitation: pace = -1.0: .*greater than 0"),
        ({"excitation": {"paces": 1.0}}, "excitation has no parameter paces; is it pace?"),
        ({"pid": {"kp": [1.0]}}, "pid is no node of this run: rig"),
        ({"/**": {"kp": [1.0]}}, "no node of this run has a parameter kp"),
        ({"excitation": {"rate_hz": 10.0}}, "rate_hz of excitation is what the run says"),
    ],
)
def test_parameters_that_would_do_nothing_are_refused(sections, said, prefix, tmp_path: Path):
    file = tmp_path / "own.yaml"
    file.write_text(yaml.dump({k: {"ros__parameters": v} for k, v in sections.items()}))
    way = Way(False, environment(prefix))
    code, lines = way.run(controller="excitation", out=tmp_path / "run", params_file=file)
    assert code == 2 and re.search(said, " ".join(lines)), lines
    assert not (tmp_path / "run").exists()


@pytest.fixture
def instruments() -> Iterator[tuple[str, str]]:
    """Ports of a sensor and of actuators that are there whether or not anybody listens, as those of
    a robot are; it moves by the wall clock."""
    device = RigDevice(make_rig("tendon", seed=0))
    ends = [os.openpty() for _ in range(2)]
    for controller, port in ends:
        tty.setraw(port)
        os.set_blocking(controller, False)
    (sensor, _), (actuators, _) = ends
    over = threading.Event()

    def live() -> None:
        moved_s = due_s = time.monotonic()
        while not over.is_set():
            if select.select([actuators], [], [], 0.002)[0]:
                os.write(actuators, device.drive(os.read(actuators, 4096)))
            if (now_s := time.monotonic()) >= due_s:
                device.step(now_s - moved_s)
                moved_s, due_s = now_s, due_s + 1 / 120
                try:
                    os.write(sensor, device.sample()[1])
                except BlockingIOError:
                    pass  # nobody reads

    thread = threading.Thread(target=live)
    thread.start()
    yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    over.set()
    thread.join()
    for end in sum(ends, ()):
        os.close(end)


def test_a_robot_of_ones_own_is_at_serial_ports(
    way: Way, instruments: tuple[str, str], tendon, tmp_path: Path
):
    """Without a tracker nobody measures it; the run ends by itself, after its length."""
    out = tmp_path / "run"
    files = {"model": tendon.model, "firmware": tendon.firmware, "out": out}
    ports = dict(zip(("lace_port", "servo_port"), instruments, strict=True))
    code, lines = way.run(sim=False, target="sil", duration_s=2.0, **ports, **files)
    assert code == 0, lines
    assert re.search(r"MPC on sil: recorded \d+ samples in", lines[-1])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["complete"] and summary["samples"] > 100 and not summary["sim"]
    assert (summary["clock"], summary["errors"]) == ("realtime", [])
    assert not (out / "parameters" / "rig.yaml").exists()
    assert len(read_topics(out / "bag", ("/command",))[0]["/command"]) > 100


def test_a_sensor_that_is_unplugged_ends_the_run(way: Way, tendon, tmp_path: Path):
    """And is no end of it, though it may come back for half a minute and the run is over before."""
    out = tmp_path / "run"
    ports = [os.openpty() for _ in range(2)]
    names = [os.ttyname(port) for _, port in ports]
    files = {"model": tendon.model, "firmware": tendon.firmware, "out": out}
    process = way.start(
        sim=False, target="sil", sensor_port=names[0], actuator_port=names[1], **files
    )
    deadline = time.monotonic() + 240
    while "lightlace" not in processes_of(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3.0)  # it opens the port
    for end in ports[0]:
        os.close(end)
    code, lines = ended(process)
    assert code == 1 and "lightlace: the sensor on" in lines[-1], lines


def test_recordings_and_what_a_firmware_predicts_of_them(way: Way, tendon, tmp_path: Path):
    data = tmp_path / "data"
    code, lines = way.run("record", runs=2, duration_s=2.0, seed=7, out=data)
    assert code == 0, lines
    assert sorted(path.name for path in data.iterdir()) == ["run_7", "run_8"]
    assert "run_8" in lines[-1]
    files = {"model": tendon.model, "firmware": tendon.firmware}
    code, lines = way.run("replay", recording=data / "run_7" / "bag", target="sil", **files)
    assert code == 0, lines
    assert re.search(r"firmware on sil: tip RMSE \S+ mm; 240 samples of", lines[-1])
    code, lines = way.run("replay", recording=data, target="sil", **files)
    assert code != 0 and str(data) in lines[-1]


TWO = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def robot(name):
    source = PythonLaunchDescriptionSource("{file}")
    arguments = dict(
        controller="excitation", duration_s="2.0", namespace=name, seed=str(len(name)),
        out="{out}/" + name,
    )
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


def generate_launch_description():
    return LaunchDescription([robot("left"), robot("right")])
"""


def test_two_robots_in_one_launch_have_a_bag_each(prefix: Path, tmp_path: Path):
    way = launch_way(prefix)
    file = share() / "launch" / "experiment.launch.py"
    (tmp_path / "two.launch.py").write_text(TWO.format(file=file, out=tmp_path))
    process = subprocess.Popen(
        [*ROS2, "launch", str(tmp_path / "two.launch.py")],
        env=way.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    code, lines = ended(process)
    assert code == 0, lines
    sums = set()
    for name, other in (("left", "right"), ("right", "left")):
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert (summary["samples"], summary["complete"]) == (240, True)
        assert summary["namespace"] == f"/{name}"
        sums.add(summary["commands_sha256"])
        metadata = (tmp_path / name / "bag" / "metadata.yaml").read_text()
        assert f"/{name}/outputs" in metadata and f"/{other}/" not in metadata
    assert len(sums) == 2
