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
from pathlib import Path

import nbformat
import pytest

REQUIRED = os.environ.get("LMLAB_REQUIRE_BROWSER") == "1"


def chromium() -> str:
    """The path of a Chromium; without one, a skip that is seen, or a failure where browsers are required."""
    found = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
    if found is None:
        reason = "no Chromium on the PATH: browser tests need one (Debian: apt-get install chromium)"
        pytest.fail(reason) if REQUIRED else pytest.skip(reason)
    return found


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextmanager
def server(root: Path):
    """JupyterLab on a free port of this machine, with settings of its own; yields its address."""
    port, home = free_port(), root / ".home"
    env = dict(os.environ, JUPYTER_PLATFORM_DIRS="1", PYTHONPATH=str(Path(__file__).parents[2]))
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
        *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None", "--ServerApp.terminals_enabled=False"),
    ]
    with open(root / "server.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=env, stdout=log, stderr=log, start_new_session=True
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

    NOISE = ("favicon", "ResizeObserver loop", "/lsp/", "/api/me")

    def __init__(self, browser, address: str, notebook: str, width: int = 1280, height: int = 800):
        self.faults: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(30_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.route("**/*", self._route)
        self.address = address
        self.page.goto(f"{address}/doc/tree/{notebook}?reset")
        self.page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def _console(self, message) -> None:
        if message.type == "error" and not any(noise in message.text for noise in self.NOISE):
            self.faults.append(f"console: {message.text}")

    def _route(self, route) -> None:
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.faults.append(f"request left this machine: {url}")
            route.abort()


def write_notebook(path: Path, *cells: str) -> None:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, path)
