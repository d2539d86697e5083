"""What keys do to a view, known without a browser: the controls in sight, and the state that each key leads to."""

import random
from dataclasses import dataclass

from lmlab.widgets.kit import View

LEFT_AND_RIGHT = {"ArrowRight": 1, "ArrowLeft": -1}
UP_AND_DOWN = {"ArrowDown": 1, "ArrowUp": -1}
STEPS = {"slider": LEFT_AND_RIGHT, "choice": UP_AND_DOWN, "marks": LEFT_AND_RIGHT, "tree": UP_AND_DOWN}
# what a reader may write into a field: a few words, signs of several bytes, nothing, far too much
TEXTS = ("Mia gave the red box to Tom. Later Tom", "47 + 8 \U0001f381 \u4f60", "", "a b c " * 200)


@dataclass(frozen=True)
class Move:
    """Press `key` where the focus is on `selector`, inside the view, after `text` was written there if it is not None:
    its state is then `state`."""

    selector: str
    key: str
    state: dict
    text: str | None = None


def in_sight(view: View) -> list[dict]:
    """The controls that the view shows in its state, once everything is unfolded."""
    conditions = [(spec, spec.get("when")) for spec in view.controls]
    return [spec for spec, when in conditions if not when or view.state[when[0]] in when[1]]


def moves(spec: dict, state: dict) -> list[Move]:
    """Every key of one control; at an end, one that changes nothing is among them."""
    name, values, value = spec["name"], spec["values"], state[spec["name"]]
    if spec["kind"] == "many":
        return [
            Move(
                f'input[data-control="{name}"][data-value="{i}"]',
                "Space",
                state | {name: [one for one in values if (one in value) != (one == toggled)]},
            )
            for i, toggled in enumerate(values)
        ]
    if spec["kind"] == "text":
        return [Move(f'[data-control="{name}"]', "Enter", state | {name: text}, text) for text in TEXTS]
    at, last = values.index(value), len(values) - 1
    return [
        Move(f'[data-control="{name}"]', key, state | {name: values[min(max(at + step, 0), last)]})
        for key, step in STEPS[spec.get("keys", spec["kind"])].items()
    ]


def presses(view: View) -> list[Move]:
    """What is no control: buttons, whose states count how often they were pressed, the marked option of a list, and the
    chosen part of a tree, which opens and closes."""
    controls, state = {spec["name"] for spec in view.controls}, view.state
    found = [
        Move(f'button[data-button="{name}"]', "Enter", state | {name: count + 1})
        for name, count in state.items()
        if name not in controls and isinstance(count, int)
    ]
    if "chosen" in state:
        first = [len(view.data["pieces"]), view.data["bars"][0]["token"]]
        found.append(Move('[role="listbox"]', "Enter", state | {"chosen": first}))
    if "open" in state:
        every = {node["id"]: node for column in view.data["columns"] for node in column["nodes"]}
        node, others = every[state["node"]], [path for path in state["open"] if path != every[state["node"]]["path"]]
        toggled = others if node["path"] in state["open"] else [*others, node["path"]]
        found.append(Move('[role="tree"]', "Enter", state | {"open": toggled} if node["folds"] else state))
    return found


def choose(view: View, rng: random.Random) -> Move:
    """Any control in sight, the one with many keys as likely as the others, then any of its keys; or a press."""
    groups = [moves(spec, view.state) for spec in in_sight(view)]
    return rng.choice(rng.choice(groups + [[press] for press in presses(view)]))
