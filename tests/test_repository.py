"""The promises of the repository as a whole: sizes, versions that agree, a README that is true."""

import ast
import re
import shutil
import subprocess
import sys
from functools import cache

import pytest
import yaml
from packaging.requirements import Requirement

from tests.repository import PACKAGE, ROOT, files, imports

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it there

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PINS = ("constraints.txt", "colab-constraints.txt")


@cache
def requirements(*extras: str) -> dict[str, Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {canonical(Requirement(line).name): Requirement(line) for line in lines}


@cache
def pins(file: str) -> dict[str, str]:
    lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# versions


def test_constraints_pin_all_that_is_declared():
    declared = requirements(*PROJECT["optional-dependencies"])
    assert set(declared) - {"lmlab"} <= set(pins("constraints.txt"))
    assert pins("constraints.txt")["torch"] == "2.13.0"  # without +cpu, so that any machine finds its own build


def test_colab_has_all_that_the_library_imports():
    assert set(requirements()) <= set(pins("colab-constraints.txt"))


@pytest.mark.parametrize("file", PINS)
def test_pins_lie_in_the_ranges(file):
    for name, requirement in requirements(*PROJECT["optional-dependencies"]).items():
        if name in pins(file):
            assert requirement.specifier.contains(pins(file)[name]), f"{requirement}: {pins(file)[name]}"


def test_ranges_have_no_upper_bound():
    for requirement in requirements(*PROJECT["optional-dependencies"]).values():
        assert {bound.operator for bound in requirement.specifier} <= {">="}, requirement


def test_environment_is_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, through_pip = environment["dependencies"]
    assert python == "python=3.11"
    assert pip == "pip"
    constraints, editable = (line.split(" ", 1) for line in through_pip["pip"])
    assert constraints == ["-c", "constraints.txt"]
    assert editable[0] == "-e"
    assert Requirement("lmlab" + editable[1].removeprefix(".")).extras <= set(PROJECT["optional-dependencies"])


def test_dependencies_are_what_the_library_imports():
    ours = {"lmlab", *sys.stdlib_module_names}
    roots = {name.split(".")[0] for path in PACKAGE.rglob("*.py") for name in imports(path)}
    optional = {canonical(name) for name in roots} & set(requirements("hub")) - set(requirements())
    assert {canonical(name) for name in roots - ours} - optional == set(requirements())


# sizes


def test_no_large_file_outside_data():
    large = {str(path) for path in files() if path.stat().st_size > 500_000}
    assert not {path for path in large if not path.startswith(str(ROOT / "data"))}


def test_data_is_small():
    assert sum(path.stat().st_size for path in files() if path.is_relative_to(ROOT / "data")) <= 48 * 2**20


def test_files_and_functions_are_short():
    long = []
    for path in PACKAGE.rglob("*.py"):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        lines = text.count("\n")
        long += [f"{name}: {lines} lines"] if lines > 250 else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (length := node.end_lineno - node.lineno + 1) > 60:
                long.append(f"{name}: {node.name} has {length} lines")
    assert not long


def test_code_is_ascii():
    code = [path for path in files() if path.suffix in {".py", ".js", ".toml", ".yml"} or path.name == "Makefile"]
    assert code
    assert not [str(path.relative_to(ROOT)) for path in code if not path.read_bytes().isascii()]


# README and Makefile


def test_readme_is_short():
    assert README.count("\n") <= 120


def test_readme_names_files_that_exist():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert len(links) > 10
    assert not [link for link in links if not (ROOT / link).exists()]


def test_readme_lists_every_notebook_and_part():
    expected = [*(ROOT / "notebooks").glob("[0-9]*.ipynb"), *(PACKAGE / "parts").glob("[!_]*.py")]
    assert not [path.name for path in expected if f"({path.relative_to(ROOT).as_posix()})" not in README]


def test_readme_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_each_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == set(phony.split()) == set(re.findall(r"make ([a-z-]+) ", shown))
