"""The bench as a view: change one thing in a miniature, see at once what it costs, then train both and compare."""

from collections.abc import Iterator
from functools import lru_cache

import lmlab.families
from lmlab.families import MINIATURES
from lmlab.figures.training import looks
from lmlab.train.bench import EVALUATE_ON, Bench, default_tokenizer
from lmlab.train.changes import changes
from lmlab.train.pretraining import Record
from lmlab.train.runs import corpus_floors
from lmlab.widgets.curves import Runs, look
from lmlab.widgets.kit import control
from lmlab.widgets.training import TrainingView

TOKENS = [2**k for k in range(14, 22)]
PROMPT = "Once there was a girl called"
Key = tuple[str, str, int, int]


def changing(model: str) -> str:
    """The name of the control that holds the change of this model."""
    return "change_" + model.removeprefix("mini-").replace("-", "_")


@lru_cache(maxsize=64)
def bench_of(key: Key) -> Bench:
    model, change, tokens, seed = key
    return Bench(model, change, tokens=tokens, seed=seed)


class BenchView(TrainingView):
    """What a change does to configuration, sizes, learning and writing. The button trains both models from scratch;
    what was trained stays, and is shown again when its model, change, tokens and seed are chosen again.

    last: the `lmlab.train.bench.Bench` that was trained last, with its models. Keyword arguments set controls: model,
    change, tokens, seed, show, texts, axis, moment.
    """

    def __init__(self, **state):
        self.trained: dict[Key, dict[str, list[Record]]] = {}
        self.written: dict[Key, dict[str, str]] = {}
        self.last: Bench | None = None
        if "change" in state:
            state[changing(state.get("model", "mini-qwen3"))] = state.pop("change")
        super().__init__({}, corpus_floors(default_tokenizer(), "general", EVALUATE_ON), **state)

    def prepare(self) -> None:
        super().prepare()
        start = {changing(model): [*changes(lmlab.families.config(model))][1] for model in MINIATURES}
        self.set_trait("state", self.state | start | {"model": "mini-qwen3", "tokens": 65_536, "seed": 0})

    def specify(self) -> list[dict]:
        found = [control("model", "Miniature", [*MINIATURES], kind="choice")]
        for model in MINIATURES:
            offered = [*changes(lmlab.families.config(model))]
            found.append(control(changing(model), "One change", offered, kind="choice", when=("model", [model])))
        show, *others = super().specify()
        found += [control("tokens", "Train each on, tokens", TOKENS), show]
        return [*found, *({**spec, "more": True} for spec in others), control("seed", "Seed", [*range(5)], more=True)]

    def press(self) -> None:
        if self.running:
            self.stop()
            return
        with self.lock:
            key = key_of(self.state)
            self.last = bench_of(key)
            self.begin(self._train(key, self.last))
            self.trained[key] = self.runs
            self._refresh()

    def _train(self, key: Key, bench: Bench) -> Iterator[tuple[str, Record]]:
        """Both models' records; when training ends, or is stopped, both write."""
        try:
            yield from bench
        finally:
            self.written[key] = bench.write(PROMPT)

    def shown(self, state: dict) -> Runs:
        return self.trained.get(key_of(state), {})

    def button(self) -> dict:
        return super().button() if self.running else {"label": "Train both", "on": True}

    def compute(self, state: dict) -> tuple[dict, str]:
        key = key_of(state)
        bench, written = bench_of(key), self.written.get(key, {})
        data, said = super().compute(state)
        data |= {"change": [differences(bench)], "sizes": [times(bench)]}
        if written:
            data["tables"] = [*data["tables"], texts(written)]
        costs = ", ".join(f"{row} x{value:.3g}" for row, value in bench.sizes.times.items())
        return (
            data,
            f"{bench.before.name}, {bench.change.name}: {bench.change.says} Changed over unchanged: {costs}. {said}",
        )


def key_of(state: dict) -> Key:
    return state["model"], state[changing(state["model"])], state["tokens"], state["seed"]


def differences(bench: Bench) -> dict:
    """The configurations' differences, a row each."""
    rows = [[field, *map(str, values)] for field, *values in bench.diff.itertuples()]
    return {
        "title": f"{bench.change.name}: {bench.change.says}",
        "columns": ["What differs", *bench.names],
        "rows": rows or [["nothing", "", ""]],
    }


def times(bench: Bench) -> dict:
    """Each size of the changed model over that of the unchanged, as a row of marks."""
    sizes, (_, name) = bench.sizes, bench.names
    return {
        "title": "The changed model's sizes, times those of the unchanged",
        "rows": [*sizes.index],
        "runs": [{"name": name, "values": [*map(float, sizes.times)]} | look(looks(bench.names)[name])],
        "said": [f"{before:,.0f} to {after:,.0f}" for before, after, _ in sizes.itertuples(index=False)],
        "at": 1,
    }


def texts(written: dict[str, str]) -> dict:
    """What each has written."""
    return {
        "title": f"Asked to go on from: {PROMPT}",
        "columns": ["Run", "Writes, by its most probable tokens"],
        "rows": [[name, text.strip() or "(nothing)"] for name, text in written.items()],
    }
