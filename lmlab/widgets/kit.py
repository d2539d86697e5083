"""What every view has on the Python side: traits, the joined JavaScript, and the way from a control to a picture."""

from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets

FOLDER = Path(__file__).parent


@cache
def joined(name: str) -> str:
    """The kit as one constant, then the view's own file: names of one cannot clash with names of the other."""
    kit, view = ((FOLDER / file).read_text(encoding="utf-8") for file in ("kit.js", name))
    return f"{kit}\n{view}"


def control(
    name: str,
    label: str,
    values: list,
    labels: list[str] | None = None,
    *,
    kind: str = "slider",
    more: bool = False,
    when: tuple[str, list] | None = None,
) -> dict:
    """One control: the values that it can take, and how each is said.

    kind "slider" or "choice" sets one of the values, "many" a list of some of them, "text" any text; "marks" one of the
    values, chosen in the picture that the view draws. `more`: behind "More". `when` (another control, [values]): shown
    only while the other has one of these values.
    """
    said = labels or [f"{value:,}" if isinstance(value, int | float) else str(value) for value in values]
    return {"name": name, "label": label, "values": values, "labels": said, "kind": kind, "more": more, "when": when}


class View(anywidget.AnyWidget):
    """A view with controls. `state` holds their values; whenever it changes, `compute` answers with the data that the
    page draws and a summary in words; what it refuses with a ValueError is shown in the view, which stays usable.

    Subclasses give `controls` and `compute`; `settle` may change the state first (a preset sets other controls).
    """

    controls = traitlets.List().tag(sync=True)
    state = traitlets.Dict().tag(sync=True, echo_update=False)
    data = traitlets.Dict().tag(sync=True)
    summary = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    version = traitlets.Int(0).tag(sync=True)

    def __init__(self, **state: Any):
        super().__init__()
        unknown = set(state) - set(self.state)
        if unknown:
            raise ValueError(f"no control is called {', '.join(sorted(unknown))}; there are {', '.join(self.state)}")
        for spec in self.controls:
            if spec["name"] in state:
                _check(spec, state[spec["name"]])
        # what a choice stands for first, then what was asked for by name
        settled = self.settle(self.state, self.state | state)
        self.state = self.settle(settled, settled | state)
        self._refresh()
        self.observe(self._on_state, "state")

    def __repr__(self) -> str:
        """What is seen where no kernel runs, as in a saved notebook."""
        return self.summary or type(self).__name__

    def compute(self, state: dict) -> tuple[dict, str]:
        """The values of the controls -> (data for the page, summary in words)."""
        raise NotImplementedError

    def settle(self, old: dict, new: dict) -> dict:
        """The state after a control was moved; a choice that stands for several settings moves them too."""
        return new

    def _on_state(self, change) -> None:
        settled = self.settle(change["old"], change["new"])
        if settled != change["new"]:
            self.state = settled  # comes back here, settled
            return
        self._refresh()

    def _refresh(self) -> None:
        # all at once, the version last: the page draws when the version changes
        with self.hold_sync():
            try:
                self.data, self.summary = self.compute(self.state)
                self.problem = ""
            except ValueError as error:
                self.problem = str(error)
            self.version += 1


def _check(spec: dict, value: Any) -> None:
    """ValueError for a value that the control cannot take."""
    if spec["kind"] == "text":
        if not isinstance(value, str):
            raise ValueError(f"{spec['name']}={value!r} is no text")
        return
    wanted = value if spec["kind"] == "many" and isinstance(value, list) else [value]
    wrong = [one for one in wanted if one not in spec["values"]]
    if wrong:
        can = ", ".join(map(str, spec["values"]))
        raise ValueError(f"{spec['name']}={wrong[0]!r} is not one of {can}")
