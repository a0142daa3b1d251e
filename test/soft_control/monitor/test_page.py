"""The page in a browser: from an installed wheel, with nothing but the loopback to reach.

Chromium comes from Debian's packages `chromium` and `chromium-driver`; without them this skips.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")
webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: soft_control[test]")

from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from soft_control.run_domains import domain_of  # noqa: E402

PROJECT = Path(__file__).resolve().parents[3]
PACKAGED = ("soft_control", "nn4mc_codegen", "config", "launch", "urdf", "firmware", "resource")
FILES = ("setup.py", "setup.cfg", "pyproject.toml", "package.xml")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1400,1600",
    # Whatever is not of the loopback has no address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the project as a wheel installs it."""
    for module in ("setuptools", "wheel"):
        pytest.importorskip(module, reason=f"a wheel is built with {module}")
    folder = tmp_path_factory.mktemp("wheel")
    source, prefix = folder / "source", folder / "prefix"
    source.mkdir()
    for name in PACKAGED:
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(PROJECT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-index", "--no-deps"]
    built = ["wheel", *alone, "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *built], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    into = ["install", *alone, "--no-warn-script-location", "--prefix", str(prefix), str(wheel)]
    subprocess.run([*pip, *into, "--ignore-installed"], check=True, cwd=folder)
    (packages,) = prefix.glob("lib/python*/site-packages")
    return {**os.environ, "PYTHONPATH": str(packages), "HOME": str(folder)}


@contextmanager
def process(arguments: list[str], environment: dict[str, str], folder: Path) -> Iterator[Any]:
    """softctl with these arguments, ended by SIGINT after the block."""
    started = subprocess.Popen(
        [sys.executable, "-m", "soft_control.cli", *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGINT)
        said, _ = started.communicate(timeout=PATIENCE_S)
        print(said)


@contextmanager
def monitor(installed: dict[str, str], folder: Path, domain: int, port: int = 0) -> Iterator[Any]:
    """softctl monitor of a domain: its address."""
    arguments = ["monitor", "--domain", str(domain), "--port", str(port)]
    with process(arguments, installed, folder) as started:
        line = started.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + started.stdout.read()
        yield line.split()[0]


class Page:
    """What a person sees, and does."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(url)
        self.url = url

    def text(self, selector: str) -> str:
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return " ".join(element.text for element in found)

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """The page may draw it anew between being found and being clicked."""
        self.wait(lambda: not self.one(selector).click())

    def wait(self, what: Callable[[], Any]) -> Any:
        """What it returns as soon as that is true."""
        wait = WebDriverWait(
            self.driver, PATIENCE_S, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return wait.until(lambda driver: what())

    def colours(self, plot: str) -> int:
        """How many colours there are on a canvas: an empty one has one."""
        return self.driver.execute_script(
            "const canvas = document.querySelector(arguments[0] + ' canvas');"
            "const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');"
            "copy.drawImage(canvas, 0, 0);"
            "const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);"
            "return new Set(new Uint32Array(data.buffer)).size;",
            plot,
        )

    def complaints(self) -> list[str]:
        """Of the console; but that a server is gone may be said."""
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        return [line for line in lines if "WebSocket" not in line]

    def addresses(self) -> set[str]:
        """Hosts that were asked for anything."""
        asked = set()
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                asked.add(event["params"]["request"]["url"])
            if event["method"] == "Network.webSocketCreated":
                asked.add(event["params"]["url"])
        return {"/".join(url.split("/")[:3]) for url in asked if not url.startswith("data:")}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield started
    started.quit()


@pytest.fixture
def page(driver: Any) -> Iterator[Page]:
    seen = Page(driver)
    yield seen
    assert seen.complaints() == []
    driver.get("about:blank")


def test_a_real_run_is_shown_by_the_installed_package(
    installed: dict[str, str], page: Page, tendon: SimpleNamespace, tmp_path: Path
):
    where = [sys.executable, "-c", "import soft_control; print(soft_control.__file__)"]
    said = subprocess.run(where, env=installed, cwd=tmp_path, capture_output=True, text=True)
    assert str(PROJECT) not in said.stdout and "site-packages" in said.stdout
    run = ["run", "--target", "sil", "--model", str(tendon.model), "--firmware"]
    run += [str(tendon.firmware), "--duration-s", "600", "--out", str(tmp_path / "run")]
    with process(run, installed, tmp_path) as started:
        with monitor(installed, tmp_path, page.wait(lambda: domain_of(started.pid))) as url:
            page.open(url)
            page.wait(lambda: page.text("#state") == "live")
            page.wait(lambda: "mm" in page.text("#error-figures"))
            # The units are those of the description that the run has written down.
            page.wait(lambda: "tendon" in page.text("#where"))
            page.wait(lambda: "deg" in page.text("#commands-legend"))
            page.wait(lambda: "lace_10" in page.text("#signals-legend"))
            page.wait(lambda: "mm" in page.text("#path-legend"))
            page.wait(lambda: "iterations" in page.text("#solver-tiles"))
            page.wait(lambda: "dynamixel" in page.text("#diagnostics"))
            page.wait(lambda: page.text("#commands-note") == "limits dashed")
            for plot in ("path", "error", "outputs", "commands", "signals", "solver"):
                page.wait(lambda plot=plot: page.colours(f"#{plot}-plot") > 20)
            page.wait(lambda: page.text("#views").split() == ["3D", "y–z", "x–z", "x–y"])
            assert page.addresses() == {url.rstrip("/"), url.rstrip("/").replace("http", "ws")}
            started.send_signal(signal.SIGINT)
            page.wait(lambda: page.text("#state").startswith("silent"))
            assert page.colours("#outputs-plot") > 20  # what was seen stays


def test_the_controller_is_switched_and_a_refusal_says_why(
    installed: dict[str, str], page: Page, domain: int, small_robot: Any, tmp_path: Path
):
    robot = small_robot()
    with monitor(installed, tmp_path, domain) as url:
        page.open(url)
        page.wait(lambda: page.text("#controller") == "mpc\npid\nopen loop\nhold")

        def chosen() -> str:
            return page.text("#controller [aria-checked=true]")

        page.wait(lambda: chosen() == "mpc")
        page.click("#controller [data-value=hold]")
        page.wait(lambda: chosen() == "hold")
        page.wait(lambda: "accepted" in page.text("#controller-answer"))
        assert ("controller", "hold") in robot.said
        page.click("#controller [data-value=pid]")
        page.wait(
            lambda: "pid refused: pid has no position to see" in page.text("#controller-answer")
        )
        page.wait(lambda: chosen() == "hold")
        # By the keyboard alone, too: an arrow goes there, and only Enter asks for it.
        page.one("#controller [data-value=hold]").send_keys(Keys.ARROW_LEFT)
        assert robot.said[-1] == ("controller", "hold")
        page.driver.switch_to.active_element.send_keys(Keys.ENTER)
        page.wait(lambda: chosen() == "open loop")
        assert robot.said[-1] == ("controller", "open_loop")


def test_a_weight_is_set_and_a_form_that_is_filled_in_stays(
    installed: dict[str, str], page: Page, domain: int, small_robot: Any, tmp_path: Path
):
    robot = small_robot()
    weight = '[data-parameter="/mcu.output_weight"]'
    with monitor(installed, tmp_path, domain) as url:
        page.open(url)
        page.wait(lambda: "tip_y" in page.text(weight))
        first, second = page.driver.find_elements(By.CSS_SELECTOR, f"{weight} input")
        assert [first.get_property("value"), second.get_property("value")] == ["1", "2"]
        assert not page.one(f"{weight} button").is_enabled()
        first.clear()
        first.send_keys("2.5")
        page.one('[data-parameter="/mcu.share"] input').send_keys("1", Keys.ENTER)
        page.wait(lambda: robot.said and robot.said[-1][0] == "share")
        assert first.get_property("value") == "2.5"  # not put back by what came of the other
        page.click(f"{weight} button")
        page.wait(lambda: "output weight is 2.5, 2 now" in page.text(weight))
        assert list(robot.said[-1][1]) == [2.5, 2.0]
        assert "command_min" not in page.text("#parameters").replace(" ", "_")


def test_it_waits_for_a_robot_pauses_and_reconnects(
    installed: dict[str, str], page: Page, domain: int, small_robot: Any, tmp_path: Path
):
    with monitor(installed, tmp_path, domain) as url:
        page.open(url)
        page.wait(lambda: page.text("#state") == f"waiting for a robot on domain {domain}")
        assert "as soon as one publishes" in page.text("#banner")
        robot = small_robot()
        page.wait(lambda: page.text("#state") == "live")
        page.wait(lambda: not page.one("#banner").is_displayed())

        def newest() -> str:
            return page.text("#outputs-legend").split()[1]

        before = newest()
        page.wait(lambda: newest() != before)
        page.one("body").send_keys(Keys.SPACE)
        assert page.text("#pause") == "Resume"
        seen = []
        for _ in range(2):
            k = robot.k
            page.wait(lambda k=k: robot.k > k + 40)
            seen.append(newest())
        frozen = seen[0]
        assert seen == [frozen, frozen]
        page.click("#pause")
        page.wait(lambda: newest() != frozen)
        # A cursor by the keyboard: it reads what was, and Escape goes back to what is.
        canvas = page.one("#outputs-plot canvas")
        canvas.send_keys(Keys.HOME)
        page.wait(lambda: " at " in canvas.get_attribute("aria-label"))
        canvas.send_keys(Keys.ESCAPE)
        page.wait(lambda: " newest" in canvas.get_attribute("aria-label"))
    port = int(url.rstrip("/").rpartition(":")[2])
    page.wait(lambda: page.text("#state") == "connection lost, reconnecting")
    with monitor(installed, tmp_path, domain, port):
        page.wait(lambda: page.text("#state") == "live")


def test_the_page_follows_the_colours_of_the_system(
    installed: dict[str, str], page: Page, domain: int, tmp_path: Path
):
    def surface(scheme: str) -> str:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        return page.one("header").value_of_css_property("background-color")

    with monitor(installed, tmp_path, domain) as url:
        page.open(url)
        light, dark = surface("light"), surface("dark")
        surface("")
    assert light == "rgba(255, 255, 255, 1)" and dark == "rgba(26, 32, 39, 1)"


def test_two_robots_are_one_choice_away(
    installed: dict[str, str], page: Page, domain: int, small_robot: Any, tmp_path: Path
):
    small_robot("left")
    small_robot("right")
    with monitor(installed, tmp_path, domain) as url:
        page.open(url)
        page.wait(lambda: page.text("#robot option") == "/left /right")
        for name in ("/right", "/left"):  # that which was found first is shown first
            page.click(f"#robot option[value='{name}']")
            page.wait(lambda name=name: f"{name}/mcu" in page.text("#parameters"))
            page.wait(lambda: page.text("#state") == "live")
