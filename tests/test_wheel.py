"""The wheel, installed in an environment of its own and used from elsewhere, finds its data."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.browser.lab import VIEWS, Page, cell, launched, server, write_notebook
from tests.repository import ROOT, files

pytestmark = pytest.mark.wheel

USE = """
import json, lmlab
from lmlab.facts import table
from lmlab.paths import data_path
print(json.dumps({
    "package": lmlab.__file__,
    "facts": str(data_path("facts.csv")),
    "rows": len(table()),
    "presets": len(lmlab.presets()),
    "layers": lmlab.config("gpt-oss-20b").num_hidden_layers,
}))
"""

OPEN = """
import json
from {0} import {1}
view = {1}()
print(json.dumps([view.summary, view._esm]))
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """An interpreter that sees the installed wheel, and the dependencies of this one, but no checkout."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    interpreter = Path(paths["scripts"]) / Path(sys.executable).name
    run(sys.executable, "-m", "pip", "--python", interpreter, "install", "--no-deps", "--no-index", wheel, cwd=home)
    # a plain path in a .pth file: the .pth files inside it, an editable lmlab among them, are not followed
    ours = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (Path(paths["purelib"]) / "dependencies.pth").write_text("\n".join(sorted(ours)))
    return interpreter


def test_wheel_holds_the_package_and_the_data(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    data = {f"lmlab/_{path.relative_to(ROOT).as_posix()}" for path in files() if path.is_relative_to(ROOT / "data")}
    package = {path.relative_to(ROOT).as_posix() for path in files() if path.is_relative_to(ROOT / "lmlab")}
    assert inside == data | package


def test_wheel_works_outside_the_repository(python, tmp_path):
    seen = json.loads(run(python, "-I", "-c", USE, cwd=tmp_path))
    home = Path(python).parent.parent
    assert Path(seen["package"]).is_relative_to(home)
    assert Path(seen["facts"]).is_relative_to(home)
    assert seen["rows"] > 100
    assert seen["presets"] > 10
    assert seen["layers"] == 24


@pytest.mark.parametrize("path", VIEWS)
def test_wheel_opens_the_views_outside_the_repository(python, tmp_path, path):
    summary, esm = json.loads(run(python, "-I", "-c", OPEN.format(*path.rsplit(".", 1)), cwd=tmp_path))
    assert summary
    assert "var kit=" in esm and "export default" in esm


@pytest.mark.browser
def test_wheel_draws_the_views_in_jupyterlab(python, tmp_path):
    write_notebook(tmp_path / "views.ipynb", "import lmlab\nprint(lmlab.__file__)", *map(cell, VIEWS))
    # JupyterLab's own pages, extensions and settings lie beside the dependencies, not in the new environment
    beside = Path(sysconfig.get_path("data"))
    names = {
        "JUPYTERLAB_DIR": "share/jupyter/lab",
        "JUPYTER_PATH": "share/jupyter",
        "JUPYTER_CONFIG_PATH": "etc/jupyter",
    }
    environment = {name: str(beside / place) for name, place in names.items()}
    with launched() as browser, server(tmp_path, python, environment) as address:
        with Page(browser, address, "views.ipynb") as opened:
            for number in range(len(VIEWS)):
                view = opened.view(number)
                assert view.locator(".summary").text_content()
                assert view.locator("svg path, svg rect, canvas").count()
            # the first output, which has been scrolled away
            imported = opened.page.locator(".jp-OutputArea-output pre").first.text_content().strip()
            assert Path(imported).is_relative_to(Path(python).parent.parent)
            assert not opened.faults
