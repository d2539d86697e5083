"""The architecture view: up to three models as nested parts, down to each tensor, beside each other or to scale."""

from lmlab.families import PRESETS
from lmlab.widgets.kit import View, control, joined
from lmlab.widgets.parts import LENGTHS, STEPS, reading
from lmlab.widgets.pasted import NAME

MODELS = [*PRESETS]
NONE = "none"
DRAW = ["as boxes", "to scale, together", "to scale, each alone"]
BATCHES = [1, 2, 4, 8, 16, 32, 64]
ASKED = ("a", "b", "c", "config", "bytes", "step", "length", "batch")  # what the data depend on
START = {
    "a": "gpt-oss-120b",
    "b": NONE,
    "c": NONE,
    "draw": DRAW[0],
    "open": ["model", "repeat", "block", "block.mlp"],
    "node": "gpt-oss-120b:block.mlp.experts",
    "step": STEPS[0],
    "length": 4096,
    "batch": 1,
    "bytes": "as released",
    "config": "",
}


class ArchitectureView(View):
    """A model's parts, folded: open one to see what is in it. Up to three models stand side by side, with a mark where
    they differ; or to scale, with areas in proportion to parameters. The chosen part tells its shapes, parameters,
    bytes and FLOPs, the lines of its source and the vendor's facts behind it.

    Keyword arguments set controls: a, b, c (names of models; "none" for b and c), draw, node ("deepseek-v3:block.mlp"),
    open (paths of the parts that are open), length, batch, step, bytes; config (the text of a config.json, which a, b
    or c then show as "your config.json").
    """

    _esm = joined("architecture.js")

    def __init__(self, **state):
        self.set_trait("state", START)
        self._specify(_pasting(START, START | state), {})
        super().__init__(**state)

    def _specify(self, state: dict, data: dict) -> None:
        """The controls; the parts in sight are those of the data."""
        try:
            data = data or self._read(state)
        except ValueError:
            data = self._read(START)
        seen = in_sight(data, state["open"])
        titles = {node["id"]: node["title"] for column in data["columns"] for node in column["nodes"]}
        models, words = [*MODELS, NAME], [*MODELS, f"{NAME} (paste it under More)"]
        without = ["no other model", *words]
        self.controls = [
            control("a", "Model", models, words, kind="choice"),
            control("b", "Beside it", [NONE, *models], without, kind="choice"),
            control("c", "And beside it", [NONE, *models], without, kind="choice"),
            control("draw", "Draw", DRAW, kind="choice"),
            control("node", "Part", seen, [titles[one] for one in seen], kind="marks") | {"keys": "tree"},
            control("step", "The model is", [*STEPS], kind="choice", more=True),
            control("length", "Length of the text, tokens", LENGTHS, more=True),
            control("batch", "Texts at once", BATCHES, more=True),
            control("bytes", "Weights stored", ["as released", "in bf16"], kind="choice", more=True),
            control("config", "A Hugging Face config.json: paste it, then press Enter", [], kind="text", more=True),
        ]

    def _read(self, state: dict) -> dict:
        names = [state["a"], *(state[one] for one in "bc" if state[one] != NONE)]
        return reading(tuple(dict.fromkeys(names)), *(state[one] for one in ASKED[3:]))

    def settle(self, old: dict, new: dict) -> dict:
        new = _pasting(old, new)
        try:
            data = self._read(new)
        except ValueError:
            data = self.data or self._read(START)  # will be refused: what is shown stays
        return new | {"node": nearest(data, new["open"], new["node"])}

    def compute(self, state: dict) -> tuple[dict, str]:
        data = self._read(state)
        self._specify(state, data)
        return data, words(data, state)

    def _refresh(self) -> None:
        with self.hold_sync():
            super()._refresh()
            if self.problem:  # what is shown stays, and its parts can still be chosen
                self.data = self.data or self._read(START)
                self._specify(self.state, self.data)
                self.summary = words(self.data, self.state)


def _pasting(old: dict, new: dict) -> dict:
    """A config.json that is pasted is shown, one that is taken away is no longer."""
    if new["config"] == old["config"]:
        return new
    if new["config"].strip():
        return new if NAME in (new["a"], new["b"], new["c"]) else new | {"a": NAME}
    return new | {one: other for one, other in (("a", START["a"]), ("b", NONE), ("c", NONE)) if new[one] == NAME}


def in_sight(data: dict, opened: list[str]) -> list[str]:
    """The parts that are seen, model by model, from the top."""
    seen = []
    for column in data["columns"]:
        shown = set()
        for node in column["nodes"]:
            if not node["parent"] or (node["parent"] in opened and node["parent"] in shown):
                shown.add(node["path"])
                seen.append(node["id"])
    return seen


def nearest(data: dict, opened: list[str], node: str) -> str:
    """The part itself where it is seen; else what stands nearest above it, in the first model if its own is gone."""
    name, _, path = node.partition(":")
    names = [column["name"] for column in data["columns"]]
    column = data["columns"][names.index(name) if name in names else 0]
    parents, seen = {one["path"]: one["parent"] for one in column["nodes"]}, set(in_sight(data, opened))
    while path and f"{column['name']}:{path}" not in seen:
        path = parents[path] if path in parents else path.rpartition(".")[0]
    return f"{column['name']}:{path or 'model'}"


def words(data: dict, state: dict) -> str:
    """What is shown in one sentence, then the chosen part, then what was odd about a pasted file."""
    node = next(one for column in data["columns"] for one in column["nodes"] if one["id"] == state["node"])
    return " ".join([data["lead"], node["words"], *data["notes"]])
