"""The routing view: which experts read each token of a text, with what weights, and how evenly they are used."""

from collections.abc import Sequence
from functools import cache
from itertools import islice

from lmlab.measure import routing
from lmlab.model import LanguageModel
from lmlab.parts.router import Routing
from lmlab.text.corpus import documents, mixture
from lmlab.text.pieces import pieces
from lmlab.text.tokenizer import Tokenizer
from lmlab.train.loads import SPARSE
from lmlab.widgets.kit import View, control, joined
from lmlab.widgets.models import opened
from lmlab.widgets.routing_panels import NOTHING, PANELS, REPLAY, Kept, Look, expert, panel, quoted

LONGEST, BEGINNING = 128, 150  # tokens that the picture holds; letters of an example
OWN = "your own"
AS_TRAINED, FREE = "as trained", "without its bias"
MOMENTS = [*range(0, 101, 5)]  # percent of a recorded training
KINDS = {"story": "a story", "language": "a second language", "arithmetic": "sums"}


@cache
def examples() -> dict[str, str]:
    """The beginning of a held-out text of each domain of the corpus, cut behind a whole word."""
    found: dict[str, str] = {}
    for document in islice(documents("general", seed=-1), 200):
        found.setdefault(document.domain, document.text)
    return {KINDS.get(domain, domain): _beginning(found[domain]) for domain in mixture("general")}


def _beginning(text: str) -> str:
    return text if len(text) <= BEGINNING else text[:BEGINNING].rpartition(" ")[0]


class RoutingView(View):
    """Tokens by experts in one layer, the weights as shades, the experts' load beside them.

    models: names of checkpoints (as in `lmlab.load`) with experts and of equally many layers, or a LanguageModel with
    its `tokenizer`. Keyword arguments set controls: model, layer; text, or example; also, bias, moment.
    """

    _esm = joined("routing.js")

    def __init__(
        self,
        models: str | Sequence[str] | LanguageModel = SPARSE,
        *,
        tokenizer: Tokenizer | None = None,
        **state,
    ):
        self._models = opened(models, tokenizer)
        depths = {name: model.config.num_hidden_layers for name, (model, _) in self._models.items()}
        if len({*depths.values()}) != 1:
            raise ValueError(f"models to switch between must have equally many layers: got {depths}")
        dense = [name for name, (model, _) in self._models.items() if not routing.mixtures(model)]
        if dense:
            raise ValueError(f"{', '.join(dense)} has no layer with experts: choose models that have, as {SPARSE[0]}")
        self._reading: tuple = ()  # ((model, text), tokens, Reading): the last one
        self._shown: str | None = None  # the text in the picture
        self._kept = Kept()
        first = next(iter(self._models))
        self.set_trait("controls", self._controls(depths[first]))
        name, text = next(iter(examples().items()))
        start = {"model": first, "layer": depths[first] - 1, "example": name, "text": text}
        self.set_trait("state", start | {"also": NOTHING, "bias": AS_TRAINED, "moment": 100})
        super().__init__(**state)

    def _controls(self, layers: int) -> list[dict]:
        biased = [
            name
            for name, (model, _) in self._models.items()
            if any(routing.has_bias(moe.router) for moe in routing.mixtures(model).values())
        ]
        found = [
            control("model", "Model", [*self._models], kind="choice"),
            control("layer", "Layer", [*range(layers)]),
            control("example", "Text", [*examples(), OWN], kind="choice"),
            control("text", "The text (change it, then press Enter)", [], kind="text"),
            control("also", "Also show", [*PANELS], kind="choice", more=True),
            control("bias", "The router", [AS_TRAINED, FREE], kind="choice", more=True, when=("model", biased)),
            control(
                "moment", "Look at", MOMENTS, [f"{m}% of the run" for m in MOMENTS], more=True, when=("also", [REPLAY])
            ),
        ]
        return [one for one in found if one["name"] != "bias" or biased]

    def settle(self, old: dict, new: dict) -> dict:
        if new["example"] != old["example"] and new["example"] in examples():
            return new | {"text": examples()[new["example"]]}
        if new["text"] != old["text"]:
            return new | {"example": next((name for name, text in examples().items() if text == new["text"]), OWN)}
        return new

    def compute(self, state: dict) -> tuple[dict, str]:
        name, layer = state["model"], state["layer"]
        model, _ = self._models[name]
        tokens, reading = self._read(name, state["text"])
        empty = {"tokens": tokens, "layer": layer, "strip": None, "grids": [], "training": None, "out": [], "moved": []}
        if layer not in reading.layers:
            others = ", ".join(map(str, reading.layers))
            said = f"Layer {layer} of {name} is dense: one MLP reads every token, and nothing is chosen."
            return empty | _dense(tokens), f"{said} Layers with experts: {others}."
        look = Look(name=name, model=model, layer=layer, tokens=tokens, reading=reading)
        free = state["bias"] == FREE and routing.has_bias(look.router)
        shown = routing.without_bias(look.router, look.trained) if free else look.trained
        more, sentence = panel(state, look, shown, self._kept, self._models[name][1])
        return empty | picture(look, shown) | more, f"{words(look, shown, free)} {sentence}".strip()

    def _read(self, name: str, text: str) -> tuple[list[str], routing.Reading]:
        if not self._reading or self._reading[0] != (name, text):
            model, tokenizer = self._models[name]
            ids = [*([] if tokenizer.end is None else [tokenizer.end]), *tokenizer.encode(text)]
            if len(ids) > LONGEST:
                raise ValueError(f"the text has {len(ids)} tokens, and the picture holds {LONGEST}: shorten it")
            self._reading = (name, text), pieces(tokenizer, ids), routing.read(model, ids)
            self._shown = text
        return self._reading[1:]

    def _refresh(self) -> None:
        with self.hold_sync():
            super()._refresh()
            if self.problem and self._shown is not None:  # the other controls move the text that is still shown
                self.data, self.summary = self.compute(self.state | {"text": self._shown})


def _dense(tokens: list[str]) -> dict:
    return {key: [] for key in ("rows", "cells", "load")} | {
        "groups": 0,
        "shared": False,
        "scale": 1,
        "heading": "",
        "titles": [f"{token}: read by the one MLP" for token in tokens],
        "table": {"columns": ["Token", "Read by"], "rows": [[token, "the one MLP"] for token in tokens]},
    }


def picture(look: Look, shown: Routing) -> dict:
    """What the page draws of every layer with experts."""
    weights = routing.by_expert(shown).T  # (E, N)
    config, read_by = look.router.config, [_read_by(shown, n) for n in range(len(look.tokens))]
    return {
        "rows": [expert(e) for e in range(len(weights))],
        "cells": _few(weights),
        "load": _few(routing.load(shown)),
        "groups": getattr(config, "n_group", None) or 0,
        "shared": look.layer in look.reading.added,
        "scale": getattr(config, "routed_scaling_factor", 1.0),
        "heading": f"the weight of each expert that reads the token (of {config.num_experts_per_tok} chosen)",
        "titles": [f"{token}: {by}" for token, by in zip(look.tokens, read_by, strict=True)],
        "table": _table(look, shown, read_by),
    }


def _few(values) -> list:
    return ((values.double() * 1e4).round() / 1e4).tolist()


def _read_by(shown: Routing, n: int) -> str:
    pairs = zip(shown.indices[n].tolist(), shown.weights[n].tolist(), strict=True)
    return ", ".join(f"{expert(e)} {w:.2f}" for e, w in pairs)


def _table(look: Look, shown: Routing, read_by: list[str]) -> dict:
    columns, rows = ["Token", "Read by, with its weight"], [*map(list, zip(look.tokens, read_by, strict=True))]
    if shown is look.trained:  # what the bias leads to is another choice: its margin would be that of another router
        columns.append(f"Margin, {routing.chooses_by(look.router)}")
        for row, margin in zip(rows, routing.margins(look.router, shown).tolist(), strict=True):
            row.append(f"{margin:.3g}")
    return {"columns": columns, "rows": rows}


def words(look: Look, shown: Routing, free: bool) -> str:
    """What the picture shows, with its numbers."""
    load, tokens = routing.load(shown), len(look.tokens)
    most, least = int(load.argmax()), int(load.argmin())
    adds_up = shown.weights.double().sum(1)
    same = adds_up.std(correction=0) < 1e-4
    whole = f"always add up to {adds_up[0]:.3g}" if same else f"add up to {adds_up.mean():.3g} on average"
    bias = f", {FREE}" if free else ""
    shared = " A shared expert reads every token besides." if look.layer in look.reading.added else ""
    return (
        f"{look.name}, layer {look.layer}{bias}: each of {tokens} token{'s' * (tokens != 1)} is read by "
        f"{shown.indices.shape[1]} of {len(load)} experts, whose weights {whole}.{shared} The busiest, "
        f"{expert(most)}, reads {load[most]:.2f} times its even share, {expert(least)} {load[least]:.2f} times. "
        f"The last token, {quoted(look.tokens[-1])}, goes to {_read_by(shown, tokens - 1)}."
    )
