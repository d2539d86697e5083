"""Who may import whom, and what `import lmlab` itself brings in."""

import subprocess
import sys
from pathlib import Path

import pytest

import lmlab
from tests.repository import imports, modules

# each layer may import those before it; a layer is a module or a folder directly in lmlab/
ORDER = """paths parts formats text facts files configuration model families checkpoints trace interventions measure
    sampling compiling speculation generation generation_session train figures widgets course""".split()
ALONE = {  # these see less than what stands before them
    "paths": set(),
    "parts": set(),
    "formats": {"paths"},
    "text": {"paths"},
    "facts": {"paths"},
    "files": {"formats"},
    "figures": set(),  # tensors and DataFrames in, a figure out
}
MODULES = modules()


def layer(module: str) -> str:
    return module.split(".")[1]


def targets(path: Path) -> set[str]:
    """The modules of lmlab that a file imports; of `from lmlab.a import b`, lmlab.a.b where that is a module."""
    inside = {name for name in imports(path) if name.split(".")[0] == "lmlab"}
    return {name if name in MODULES else name.rpartition(".")[0] or name for name in inside}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_module_has_its_layer():
    assert {layer(name) for name in MODULES if name != "lmlab"} <= set(ORDER)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module):
    found = targets(MODULES[module])
    assert not found - {*MODULES}, "no such module"
    assert "lmlab" not in found, "the public names are for users: import from the module itself"
    if module == "lmlab":
        assert not found, "the public names are imported lazily"
        return
    allowed = ALONE.get(layer(module), set(ORDER[: ORDER.index(layer(module))])) | {layer(module)}
    assert {layer(name) for name in found} <= allowed


def test_no_cycles():
    graph = {module: targets(path) - {module} for module, path in MODULES.items()}
    while free := [module for module, found in graph.items() if not found & graph.keys()]:
        for module in free:
            del graph[module]
    assert not graph, f"these import each other: {sorted(graph)}"


def test_import_lmlab_is_light():
    heavy = "torch numpy pandas matplotlib plotly IPython ipywidgets transformers".split()
    assert python(f"import sys, lmlab; print(*(name for name in {heavy} if name in sys.modules))").split() == []


def test_models_need_no_plotting():
    drawing = {"figures", "widgets", "course"}
    names = [name for name in MODULES if name != "lmlab" and layer(name) not in drawing]
    heavy = "matplotlib plotly IPython ipywidgets anywidget transformers".split()
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    assert python(code + f"print(*(name for name in {heavy} if name in sys.modules))").split() == []


@pytest.mark.parametrize("order", [sorted(MODULES), sorted(MODULES, reverse=True)], ids=["forward", "backward"])
def test_public_names_survive_their_modules(order):
    code = f"import importlib, inspect, lmlab\nfor name in {order}: importlib.import_module(name)\n"
    code += "for name in lmlab.__all__:\n    assert callable(getattr(lmlab, name)), name\n"
    python(code)


def test_public_names():
    submodules = {layer(name) for name in MODULES if name != "lmlab"}
    assert not submodules & set(lmlab.__all__)
    assert set(lmlab.__all__) == set(lmlab._PUBLIC)
    assert set(lmlab.__all__) <= set(dir(lmlab))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lmlab.no_such_name
