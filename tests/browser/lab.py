"""A real JupyterLab of our own, and pages of headless Chromium in it that say what went wrong."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

from tests.repository import ROOT

REQUIRED = os.environ.get("LMLAB_REQUIRE_BROWSER") == "1"
# every view by its import path, so that an interpreter other than this one can import it too
VIEWS = (
    "lmlab.widgets.memory.CacheView",
    "lmlab.widgets.rope.RoPEView",
    "lmlab.widgets.generation.GenerationView",
    "lmlab.widgets.residual.StreamView",
    "lmlab.widgets.attention.AttentionView",
    "lmlab.widgets.training.TrainingView",
    "lmlab.widgets.bench.BenchView",
    "lmlab.widgets.interventions.InterventionView",
    "lmlab.widgets.cost.CostView",
    "lmlab.widgets.routing.RoutingView",
    "lmlab.widgets.architecture.ArchitectureView",
)


def view_class(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def cell(path: str) -> str:
    """The code of a notebook's cell that shows the view."""
    module, _, name = path.rpartition(".")
    return f"from {module} import {name}\n\n{name}()"


def installed() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


def chromium() -> str:
    """The path of a Chromium; without one, a skip that is seen, or a failure where browsers are required."""
    found = installed()
    if found is None:
        reason = "no Chromium on the PATH: browser tests need one (Debian: apt-get install chromium)"
        pytest.fail(reason) if REQUIRED else pytest.skip(reason)
    return found


@contextmanager
def launched():
    """A headless Chromium, as Playwright's browser."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextmanager
def server(root: Path, python: str | Path = sys.executable, environment: dict[str, str] | None = None):
    """JupyterLab on a free port of this machine, with settings of its own; yields its address.

    It and its kernels run in `python`. Of the variables named PYTHON... they see none but those in `environment`, by
    default that which makes this checkout's lmlab the one that is imported.
    """
    port, home = free_port(), root / ".home"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"PYTHONPATH": str(ROOT)} if environment is None else environment
    env["JUPYTER_PLATFORM_DIRS"] = "1"
    folders = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
        "IPYTHONDIR",
    )
    env |= {name: str(home / name.lower()) for name in folders}
    options = [
        *("--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={root}"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"),
        *("--LabApp.expose_app_in_browser=True", "--ServerApp.terminals_enabled=False"),
    ]
    # no question about news over the page, no look for a newer version
    settings = home / "jupyter_config_dir/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with open(root / "server.log", "w") as log:
        process = subprocess.Popen(
            [python, "-m", "jupyterlab", *options], cwd=root, env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address + "/api/status", process)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for(address: str, process: subprocess.Popen, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).read()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("JupyterLab did not come up: see server.log")


class Page:
    """One notebook, run from top to bottom; `faults` collects console errors, page errors and requests that left."""

    NOISE = ("ResizeObserver loop",)  # JupyterLab's own layout, late by a frame

    def __init__(self, browser, address: str, notebook: str, height: int = 800, scale: float = 1, whole: bool = True):
        self.faults: list[str] = []
        self.page = browser.new_page(viewport={"width": 1280, "height": height}, device_scale_factor=scale)
        self.page.set_default_timeout(120_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("websocket", lambda socket: self._check(socket.url.replace("ws", "http", 1)))
        self.page.route("**/*", self._route)
        self.address = address
        self.page.goto(f"{address}/doc/tree/{notebook}?reset")
        self.page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
        run = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
        self.page.evaluate(f"() => {run}" if whole else f"() => {{ {run}; }}")  # or without waiting for the last cell

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.page.close()

    def view(self, number: int = 0):
        """The view of that number on the page, once it is drawn."""
        found = self.page.locator(".lmlab[data-version]").nth(number)
        failed = self.page.locator(".jp-RenderedText", has_text="Error").first
        found.or_(failed).first.wait_for()
        assert not failed.count(), failed.inner_text()
        return found

    def unfold(self) -> None:
        """Open all that is folded, by keyboard, so that every control in sight can have the focus."""
        for summary in self.page.query_selector_all(".lmlab details:not([open], [hidden]) > summary"):
            summary.focus()
            self.page.keyboard.press("Enter")

    def dress(self, theme: str) -> None:
        """Change JupyterLab's theme, and wait until the splash that hides the change is gone."""
        change = "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
        self.page.evaluate(change, theme)
        self.page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=theme)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def drawn(self, version: int, where: str = "") -> None:
        """Wait until the first view has drawn this version."""
        drawn = "(version) => document.querySelector('.lmlab').dataset.version === version"
        try:
            self.page.wait_for_function(drawn, arg=str(version), timeout=60_000)
        except Exception as error:
            shown = self.view().get_attribute("data-version")
            raise AssertionError(f"drawn is {shown}, not {version}; {self.faults}; {where}") from error

    def _console(self, message) -> None:
        said = f"{message.text} {message.location['url']}"
        if message.type == "error" and not any(noise in said for noise in self.NOISE):
            self.faults.append(f"console: {said}")

    def _check(self, url: str) -> bool:
        stays = url.startswith((self.address, "data:", "blob:"))
        if not stays:
            self.faults.append(f"request left this machine: {url}")
        return stays

    def _route(self, route) -> None:
        route.continue_() if self._check(route.request.url) else route.abort()


def write_notebook(path: Path, *cells: str) -> None:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, path)
