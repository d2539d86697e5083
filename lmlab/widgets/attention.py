"""The attention view: every head of a model on one text, what each looks at, and the scores that this comes from."""

from collections.abc import Sequence

import torch

from lmlab.families import MINIATURES
from lmlab.measure import attention
from lmlab.measure.attention import BEFORE_NORM, CONTENT, ROPE, Attention
from lmlab.model import LanguageModel
from lmlab.text.pieces import pieces
from lmlab.text.tokenizer import Tokenizer
from lmlab.widgets.attention_words import words
from lmlab.widgets.kit import View, control, joined
from lmlab.widgets.models import EXAMPLES, OWN, opened, text_of_example

LONGEST = 96  # tokens that the picture holds
STATISTICS = {
    "distance": "tokens it looks back",
    "first": "weight on the first token",
    "sink": "share of the sink",
    "beyond": "weight outside a window",
    "previous": "weight on the token before",
    "itself": "weight on the token itself",
    "entropy": "entropy of its weights, in bits",
}
PLAIN = ("distance", "entropy")  # the others are shares
WINDOWS = (1, 2, 4, 8, 16, 32, 64)
WEIGHTS, SCORES = "weights", "scores"
# what the map can show depends on the kind of attention: a control for each kind, of which the model's is in sight
MAPS = {
    "show": [WEIGHTS, SCORES],
    "show_norm": [WEIGHTS, SCORES, BEFORE_NORM],
    "show_mla": [WEIGHTS, SCORES, CONTENT, ROPE],
}
SAID = {
    WEIGHTS: "weights",
    SCORES: "scores, before the softmax",
    BEFORE_NORM: "scores before QK-Norm",
    CONTENT: "scores, the content part",
    ROPE: "scores, the RoPE part",
}
FORMS = {"map": "a map", "lines": "lines, token to token"}


class AttentionView(View):
    """The heads of every layer by one number each, their key/value heads told, and for the chosen head which token
    looks at which.

    models: the name of a checkpoint (as in `lmlab.load`), several to switch between, or a LanguageModel with its
    `tokenizer`. Keyword arguments set controls: model; text, or example; statistic; head (an index: layer * heads +
    head) and token (an index), unless told the head that looks far back most sharply from the last token; what the map
    shows: show, show_norm (a model with QK-Norm) or show_mla; form ("map" or "lines"); window.
    """

    _esm = joined("attention.js")

    def __init__(
        self,
        models: str | Sequence[str] | LanguageModel = MINIATURES,
        *,
        tokenizer: Tokenizer | None = None,
        **state,
    ):
        self._models = opened(models, tokenizer)
        kinds = {name: _kind(model) for name, (model, _) in self._models.items()}
        self._kinds = {kind: [name for name in kinds if kinds[name] == kind] for kind in MAPS if kind in kinds.values()}
        self._reading: tuple = ()  # ((model, text), Attention, data): the last one
        self._map: tuple = ()  # ((model, text), what is shown, data)
        example = "a place from before"  # longer than a window
        start = {
            "model": next(iter(self._models)),
            "example": example,
            "text": EXAMPLES[example],
            "statistic": "distance",
        }
        start |= dict.fromkeys(self._kinds, WEIGHTS) | {"form": "map", "window": 32}
        asked = start | {"text": EXAMPLES.get(state.get("example"), start["text"])} | state
        asked["model"] = asked["model"] if asked["model"] in self._models else start["model"]  # refused further down
        tokens = self._pieces(start | {"model": asked["model"], "text": str(asked["text"])})
        self._controls(asked["model"], tokens)
        shape = _shape(self._models[asked["model"]][0])
        if len(tokens) <= LONGEST:
            start["model"] = asked["model"]
            _, found, _ = self._read(asked["model"], str(asked["text"]))
            layer, head = attention.sharpest(found)
            start["head"] = layer * shape[1] + head
        self.set_trait("state", {"head": 0} | start | {"token": len(self._pieces(start)) - 1})
        super().__init__(**state)

    def _controls(self, model: str, tokens: list[str]) -> None:
        layers, heads = _shape(self._models[model][0])
        every = [f"layer {layer}, head {head}" for layer in range(layers) for head in range(heads)]
        self.controls = [
            control("model", "Model", [*self._models], kind="choice"),
            control("example", "Text", [*EXAMPLES, OWN], kind="choice"),
            control("statistic", "Each head by its", [*STATISTICS], [*STATISTICS.values()], kind="choice"),
            control("text", "The text (change it, then press Enter)", [], kind="text"),
            control("head", "Head", [*range(len(every))], every, kind="marks"),
            control("token", "Token", [*range(len(tokens))], tokens, kind="marks"),
            *(
                control(
                    kind,
                    "The map shows",
                    MAPS[kind],
                    [SAID[one] for one in MAPS[kind]],
                    kind="choice",
                    more=True,
                    when=("model", names),
                )
                for kind, names in self._kinds.items()
            ),
            control("form", "Drawn as", [*FORMS], [*FORMS.values()], kind="choice", more=True),
            control(
                "window", "Compare with a window of", [*WINDOWS], [f"{size} tokens" for size in WINDOWS], more=True
            ),
        ]

    def _pieces(self, state: dict) -> list[str]:
        """The text's tokens behind the one that ended the text before, as in training."""
        _, tokenizer = self._models[state["model"]]
        return pieces(tokenizer, _ids(tokenizer, state["text"]))

    def settle(self, old: dict, new: dict) -> dict:
        new = text_of_example(old, new)
        if new["model"] != old["model"]:  # the same layer and head, or the nearest there is
            (_, before), (layers, heads) = (_shape(self._models[one["model"]][0]) for one in (old, new))
            layer, head = divmod(new["head"], before)
            new = new | {"head": min(layer, layers - 1) * heads + min(head, heads - 1)}
        tokens = len(self._pieces(new))
        if tokens > LONGEST:
            return new  # will be refused: what is shown stays
        return new | {"token": tokens - 1 if new["text"] != old["text"] else min(new["token"], tokens - 1)}

    def _read(self, model: str, text: str) -> tuple:
        if not self._reading or self._reading[0] != (model, text):
            self._reading = (model, text), *reading(*self._models[model], text)
        return self._reading

    def compute(self, state: dict) -> tuple[dict, str]:
        asked, found, data = self._read(state["model"], state["text"])
        shown = state[_kind(self._models[state["model"]][0])]
        if not self._map or self._map[:2] != (asked, shown):
            if not self._map or self._map[0] != asked:
                self._controls(state["model"], data["tokens"])
            self._map = asked, shown, data | {"map": grid(found, shown)}
        return self._map[2], words(found, self._map[2]["tokens"], state, shown, STATISTICS)

    def _refresh(self) -> None:
        with self.hold_sync():
            super()._refresh()
            if self.problem and self.data:  # of the text that is still shown
                (model, _), shown, data = self._map
                state = self.state | {"model": model}
                self.summary = words(self._reading[1], data["tokens"], state, shown, STATISTICS)


def _kind(model: LanguageModel) -> str:
    """Which control says what the map shows."""
    config = model.config.blocks[0].attention
    if hasattr(config, "kv_lora_rank"):
        return "show_mla"
    return "show_norm" if config.qk_norm else "show"


def _shape(model: LanguageModel) -> tuple[int, int]:
    """Layers, query heads."""
    return model.config.num_hidden_layers, model.config.blocks[0].attention.num_attention_heads


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [tokenizer.end, *tokenizer.encode(text)]


def reading(model: LanguageModel, tokenizer: Tokenizer, text: str) -> tuple[Attention, dict]:
    """The attention on one text, and what the page holds of it: for every head its weights, float32, a triangle each
    (row i has i + 1 of them), and what the statistics say."""
    ids = _ids(tokenizer, text)
    if len(ids) > LONGEST:
        raise ValueError(f"the text has {len(ids)} tokens, and the picture holds {LONGEST}: shorten it")
    found = attention.read(model, ids)
    statistics = attention.statistics(found)
    data = {
        "tokens": pieces(tokenizer, ids),
        "layers": [f"{layer}: {f'window {window}' if window else 'all'}" for layer, window in enumerate(found.windows)],
        "windows": list(found.windows),
        "groups": groups(found, mla=_kind(model) == "show_mla"),
        "weights": triangles(found.weights),
        "sinks": floats(found.sinks) if bool(found.sink_scores.isfinite().any()) else None,
        "statistics": {name: _few(values) for name, values in statistics.items()},
        "beyond": {str(window): _few(attention.beyond(found, window)) for window in WINDOWS},
    }
    return found, data


def groups(found: Attention, mla: bool) -> list[dict]:
    """The query heads that read one key/value head stand side by side: the label of each, and how many they are."""
    if mla:
        return [{"label": "one latent for all heads", "size": len(found.key_heads)}]
    return [
        {"label": f"key/value head {head}", "size": found.key_heads.count(head)}
        for head in sorted(set(found.key_heads))
    ]


def grid(found: Attention, shown: str) -> dict | None:
    """Scores to draw in place of the weights: triangles as in `reading`, the sinks' scores, and of each head the least
    and the largest score that it sees."""
    if shown == WEIGHTS:
        return None
    scores = found.scores if shown == SCORES else found.parts[shown]
    hidden = ~found.visible[:, None].expand_as(scores)
    ends = [scores.masked_fill(hidden, fill) for fill in (float("inf"), float("-inf"))]
    learned = found.sink_scores if shown == SCORES and bool(found.sink_scores.isfinite().any()) else None
    return {
        "label": SAID[shown],
        "values": triangles(scores),
        "low": _few(ends[0].amin((-1, -2))),
        "high": _few(ends[1].amax((-1, -2))),
        "sinks": None if learned is None else _few(learned),
    }


def triangles(values: torch.Tensor) -> bytes:
    """(L, H, T, T) -> row after row what is not right of the diagonal, float32."""
    rows, columns = torch.tril_indices(*values.shape[-2:], device=values.device)
    return floats(values[..., rows, columns])


def floats(values: torch.Tensor) -> bytes:
    return values.float().cpu().numpy().astype("<f4").tobytes()


def _few(values: torch.Tensor) -> list:
    return ((values.double() * 1e5).round() / 1e5).tolist()
