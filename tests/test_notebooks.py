"""What a saved notebook may hold. That it runs is nbval's business: make test-notebooks."""

import ast
import json
import re
import subprocess
import sys

import pytest

from lmlab.course import catalogue
from tests.repository import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_FUNCTION = 12  # lines; what is longer belongs in the library
REMOTE_IMAGE = re.compile(
    r"!\[[^\]]*\]\(\s*<?(https?:)?//|<img[^>]+src\s*=\s*[\"']?\s*(https?:)?//|url\(\s*[\"']?https?:"
)
EMPTY_MARKDOWN_IMAGE = re.compile(r"!\[\s*\]\(")
ALT = re.compile(r"\balt\s*=\s*(\"[^\"]*\w[^\"]*\"|'[^']*\w[^']*')")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell) -> str:
    return "".join(cell["source"])


def code(cell) -> str:
    """A code cell's Python, its magics and shell lines blanked out."""
    return re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source(cell))


def code_cells(notebook) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook) -> list[dict]:
    return [output for cell in code_cells(notebook) for output in cell["outputs"]]


def text(value) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def test_there_are_notebooks():
    assert any(path.name == "00_start_here.ipynb" for path in NOTEBOOKS)


def test_no_widget_state(notebook):
    assert "widgets" not in notebook["metadata"]


def test_saved_after_one_clean_run(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for output in outputs(notebook):
        assert output["output_type"] != "error", output["ename"]
        assert output.get("name") != "stderr", text(output["text"])


def test_small(path):
    assert path.stat().st_size <= 500_000


def test_no_remote_images(notebook):
    shown = [source(cell) for cell in notebook["cells"]]
    shown += [text(data) for output in outputs(notebook) for data in output.get("data", {}).values()]
    for content in shown:
        assert not REMOTE_IMAGE.search(content), REMOTE_IMAGE.search(content).group()


def test_images_have_alternative_text(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            assert not EMPTY_MARKDOWN_IMAGE.search(source(cell))
            assert_alt_in_html(source(cell))
    for output in outputs(notebook):
        data, metadata = output.get("data", {}), output.get("metadata", {})
        assert_alt_in_html(text(data.get("text/html", "")))
        for mime in data:
            if mime.startswith("image/"):
                assert metadata.get(mime, metadata).get("alt"), f"an output of type {mime} has no alternative text"


def assert_alt_in_html(html: str) -> None:
    for tag in re.findall(r"<img\b[^>]*>", html, flags=re.DOTALL):
        assert ALT.search(tag), f"an image without alternative text: {tag[:80]}..."


def test_no_library_code(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(code(cell))):
            assert not isinstance(node, ast.ClassDef), f"class {node.name} belongs in lmlab"
            if isinstance(node, ast.FunctionDef) and "exercise" not in cell["metadata"].get("tags", []):
                length = node.end_lineno - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines: it belongs in lmlab"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff(command):
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "notebooks"]
    done = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def exercises(notebook) -> list[str]:
    """The numbers that the notebook's cells check."""
    return re.findall(r'check\("(\d\d\.\d+)"', "\n".join(map(source, code_cells(notebook))))


def test_exercises_are_those_of_the_catalogue(path, notebook):
    lesson = path.name[:2]
    asked = [exercise for exercise in catalogue.exercises() if exercise.number.startswith(lesson)]
    assert exercises(notebook) == [exercise.number for exercise in asked]
    prose = "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    cells = [source(cell) for cell in code_cells(notebook) if "exercise" in cell["metadata"].get("tags", [])]
    for exercise, cell in zip(asked, cells, strict=True):
        assert exercise.header in prose
        first_line = exercise.source.splitlines()[0]
        assert cell.startswith(first_line) and cell.endswith(
            f'check("{exercise.number}", {exercise.solution.__name__})'
        )


def test_a_lesson_is_one_sitting(path, notebook):
    prose = "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    assert len(re.findall(r"\w[\w'.,-]*", prose)) <= 1800
    if path.name[:2] in catalogue.LESSONS:
        for heading in ("Predict", "Exercises", "Going further", "What this corrects", "Sources"):
            assert f"## {heading}\n" in prose
        at_path = prose.index("## Exercises"), prose.index("## Going further")
        assert len(re.findall(r"^\*\*\d\d\.\d ", prose[slice(*at_path)], flags=re.MULTILINE)) == 3
