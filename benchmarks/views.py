"""What one waits for after a key: until the next frame holds the picture that Python answered with, in JupyterLab."""

import random
import statistics
import tempfile
from pathlib import Path

from benchmarks.timing import Row
from tests.browser.lab import VIEWS, Page, cell, installed, launched, server, view_class, write_notebook
from tests.browser.moves import in_sight, moves

PRESSES, WARM_UP = 40, 5
# Milliseconds between a picture and the next key. Where it follows at once, Linux holds back JupyterLab's answer for
# 40 ms: the server sends it in several small messages, on a socket without TCP_NODELAY.
PACES = {"single keys": 250, "keys in a row": 0}

# Both ends are read in the page: the time that the browser gave the key, and the first frame after the change.
WATCH = """(node) => {
    let pressed;
    window.lmlabWaits = [];
    document.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
    new MutationObserver(() => requestAnimationFrame(() => window.lmlabWaits.push(performance.now() - pressed)))
        .observe(node, { attributes: true, attributeFilter: ["data-version"] });
}"""


def rows(repeats: int = 5, presses: int = PRESSES, warm_up: int = WARM_UP, names: tuple[str, ...] = VIEWS) -> list[Row]:
    """One press is one sample: `presses` of them, `repeats` plays no part. Without a Chromium, no rows."""
    if not installed():
        return []
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        for name in names:
            write_notebook(Path(folder, f"{name}.ipynb"), cell(name))
        with server(Path(folder)) as address:
            return [_row(browser, address, name, pace, presses, warm_up) for name in names for pace in PACES]


def _row(browser, address: str, name: str, pace: str, presses: int, warm_up: int) -> Row:
    with Page(browser, address, f"{name}.ipynb") as opened:
        waits = _waits(opened, view_class(name)(), PACES[pace], warm_up + presses)[warm_up:]
    assert len(waits) == presses and not opened.faults, f"{len(waits)} of {presses}; {opened.faults}"
    median, p90 = statistics.median(waits), statistics.quantiles(waits, n=10, method="inclusive")[-1]
    what = f"{name.rpartition('.')[-1]}, {pace}, key to picture"
    return Row(what, f"median {median:.0f} ms", f"p90 {p90:.0f} ms", p90, "50 ms at most")


def _waits(opened: Page, mirror, pause: int, presses: int) -> list[float]:
    """Milliseconds of each press, on the sliders and choices in turn; never one that lies at its end."""
    rng, view = random.Random(0), opened.view()
    opened.unfold()
    view.evaluate(WATCH)
    for number in range(presses):
        controls = [moves(spec, mirror.state) for spec in in_sight(mirror) if spec["kind"] not in ("many", "text")]
        live = [found for keys in controls if (found := [move for move in keys if move.state != mirror.state])]
        move = rng.choice(live[number % len(live)])
        mirror.state = move.state
        view.locator(move.selector).focus()
        opened.page.keyboard.press(move.key)
        opened.drawn(mirror.version)
        opened.page.wait_for_function("(number) => window.lmlabWaits.length > number", arg=number)
        opened.page.wait_for_timeout(pause)
    return opened.page.evaluate("() => window.lmlabWaits")
