"""Training in a real JupyterLab: Stop is heard while the cell that waits still runs; the bench trains by a press."""

import pytest

from tests.browser.lab import Page, cell, server, write_notebook

pytestmark = pytest.mark.browser
# long enough to be stopped on any machine; the cell waits for it, as in lesson 10
LIVE = """from dataclasses import replace

import lmlab
from lmlab.train.bench import beginning, short_recipe
from lmlab.train.pretraining import pretrain
from lmlab.widgets.training import TrainingView

config = lmlab.config("mini-qwen3")
model = beginning(replace(config, blocks=config.blocks[:1]), seed=0)
recipe = replace(short_recipe(8 * 64 * 5000), batch_size=8, length=64)
records = pretrain(model, lmlab.tokenizer("mini-qwen3"), recipe, evaluate_on=0)
view = TrainingView(records, {"all": 0.4})
view"""
AFTER = "view.wait()\nprint('steps', len(view.runs['the model']), view.running)"
STEP = """(least) => {
    const found = /step ([\\d,]+) of/.exec(document.querySelector(".lmlab").textContent);
    return found && Number(found[1].replace(",", "")) >= least;
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("training")
    write_notebook(root / "live.ipynb", LIVE, AFTER)
    write_notebook(root / "bench.ipynb", cell("lmlab.widgets.bench.BenchView"))
    with server(root) as found:
        yield found


def test_stop_is_heard_while_a_cell_waits_for_the_training(browser, address):
    with Page(browser, address, "live.ipynb", height=1400, whole=False) as opened:
        page, view = opened.page, opened.view()
        button = view.get_by_role("button", name="Stop training")
        page.wait_for_function(STEP, arg=3)
        assert view.locator("progress").evaluate("(bar) => bar.value") > 0
        assert "Training." in view.locator(".summary").text_content()
        assert not page.locator(".jp-OutputArea-output", has_text="steps ").count(), "the cell below still waits"
        button.focus()
        page.keyboard.press("Enter")
        ended = view.get_by_role("button", name="Training has ended")
        ended.wait_for()
        assert ended.get_attribute("aria-disabled") == "true"
        assert ended.evaluate("(node) => node === document.activeElement"), "the focus stays"
        output = page.locator(".jp-OutputArea-output", has_text="steps ")
        output.wait_for()
        _, steps, running = output.inner_text().split()
        assert 3 <= int(steps) < 5000 and running == "False"
        said = view.locator(".summary").text_content()
        assert said.startswith(f"Training was stopped by hand. the model after {int(steps) * 512:,} tokens: loss ")
        page.keyboard.press("Enter")  # nothing is left to stop
        assert view.locator(".problem").text_content() == "" and not opened.faults


def test_the_bench_is_trained_by_a_press_and_both_write(browser, address):
    with Page(browser, address, "bench.ipynb", height=1800) as opened:
        page, view = opened.page, opened.view()
        view.locator('[data-control="tokens"]').press("Home")  # the fewest
        page.wait_for_function("() => document.querySelector('.lmlab .summary').textContent.includes('parameters x')")
        view.get_by_role("button", name="Train both").press("Space")
        view.get_by_role("button", name="Stop training").wait_for()
        view.get_by_role("button", name="Train both").wait_for(timeout=400_000)  # it has ended
        said = view.locator(".summary").text_content()
        assert said.count("after 16,384 tokens") == 2
        heads = view.locator("th", has_text="Writes, by its most probable tokens")
        heads.wait_for()
        assert not opened.faults
