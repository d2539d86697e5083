"""The interventions view: one change inside a model, and what becomes of its words, beside the untouched model."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from lmlab.families import MINIATURES
from lmlab.generation import write
from lmlab.interventions import intervene
from lmlab.measure.generation import candidates
from lmlab.measure.interventions import Effect, agreeing, effect, heads
from lmlab.model import LanguageModel
from lmlab.sampling import Greedy
from lmlab.text.pieces import pieces
from lmlab.text.tokenizer import Tokenizer
from lmlab.widgets.kit import View, control, joined
from lmlab.widgets.models import opened

TEXT = (
    "Once there was a girl called Mia who lived in Oakwood. Her best friend was a boy called Tom. Mia and Tom often "
    "visited Grandma. Mia owned a tiny red kite and loved it more than anything. But"
)
LONGEST = 96  # tokens that the picture holds
WRITTEN = 16  # tokens of each continuation
ROWS = 7  # of the most probable next tokens
HEAD, EXPERT, ALL = ["layer", "head"], ["layer", "expert"], []
# what is changed -> how it is said, what it asks for, and the argument of `intervene`
CHANGES = {
    "switch a head off": ("with {} switched off", HEAD, "ablate_head"),
    "let a head look everywhere alike": ("with {} looking everywhere alike", HEAD, "force_head"),
    "remove the sinks": ("without sinks", ALL, "remove_sinks"),
    "set another window": ("with {}", ["window"], "window"),
    "switch an expert off": ("with {} switched off", EXPERT, "ablate_expert"),
    "never choose an expert": ("with {} never chosen", EXPERT, "ban_expert"),
    "always choose an expert": ("with {} always chosen", EXPERT, "force_expert"),
    "choose more or fewer experts": ("with {}", ["top_k"], "top_k"),
    "set the router's temperature": ("with {}", ["temperature"], "router_temperature"),
}
NO_WINDOW = "none"
WINDOWS = [1, 2, 4, 8, 16, 32, 64, NO_WINDOW]
TOP_K = [1, 2, 3, 4, 6, 8]
TEMPERATURES = [0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 100.0]


def arguments(state: dict) -> dict:
    """What `lmlab.intervene` is asked for."""
    _, asks, name = CHANGES[state["change"]]
    if asks in (HEAD, EXPERT):
        return {name: tuple(state[part] for part in asks)}
    if asks == ALL:
        return {name: True}
    value = state[asks[0]]
    return {name: None if value == NO_WINDOW else value}


def named(state: dict) -> str:
    """The change in words."""
    form, asks, _ = CHANGES[state["change"]]
    if asks in (HEAD, EXPERT):
        return form.format(f"{asks[1]} {state[asks[1]]} of layer {state['layer']}")
    no_window = state["window"] == NO_WINDOW
    what = {
        "window": "no window" if no_window else f"windows of {state['window']} tokens",
        "top_k": f"{state['top_k']} expert{'s' * (state['top_k'] > 1)} a token",
        "temperature": f"a router temperature of {state['temperature']:g}",
    }
    return form.format(what.get(*asks)) if asks else form


class InterventionView(View):
    """Change one thing inside a model, and see what becomes of a text's loss, of the next token, and of what it writes.

    models: the name of a checkpoint (as in `lmlab.load`), several to switch between, or a LanguageModel with its
    `tokenizer`. Keyword arguments set controls: model, change, layer, head, expert, window, top_k, temperature; text.
    It opens on the head that matters most for the next token.
    """

    _esm = joined("interventions.js")

    def __init__(
        self,
        models: str | Sequence[str] | LanguageModel = MINIATURES,
        *,
        tokenizer: Tokenizer | None = None,
        **state,
    ):
        self._models = opened(models, tokenizer)
        self._untouched = lru_cache(maxsize=4)(self._continuation)
        start = {"model": next(iter(self._models)), "change": next(iter(CHANGES)), "text": TEXT}
        first = start | {name: value for name, value in state.items() if name in start}
        model, tok = self._models.get(first["model"], next(iter(self._models.values())))
        ids = _ids(tok, str(first["text"]))
        strength = heads(model, ids[-LONGEST:])  # (L, H)
        layer, head = divmod(int(strength.argmax()), strength.shape[1])
        parts = {"layer": layer, "head": head, "expert": 0, "window": NO_WINDOW, "top_k": 1, "temperature": 100.0}
        self.set_trait("controls", self._controls())
        self.set_trait("state", start | parts)
        super().__init__(**state)

    def _controls(self) -> list[dict]:
        configs = [model.config for model, _ in self._models.values()]
        layers = max(config.num_hidden_layers for config in configs)
        attentions = [block.attention for config in configs for block in config.blocks]
        experts = [getattr(block.mlp, "num_experts", 0) for config in configs for block in config.blocks]
        number = lambda count: [*range(count)]  # noqa: E731
        asks = lambda name: ("change", [change for change, (_, parts, _) in CHANGES.items() if name in parts])  # noqa: E731
        return [
            control("model", "Model", [*self._models], kind="choice"),
            control("change", "Change", [*CHANGES], kind="choice"),
            control("layer", "Layer", number(layers), when=asks("layer")),
            control("head", "Head", number(max(a.num_attention_heads for a in attentions)), when=asks("head")),
            control("expert", "Expert", number(max(1, *experts)), when=asks("expert")),
            control("window", "Window", WINDOWS, when=asks("window")),
            control("top_k", "Experts a token", TOP_K, when=asks("top_k")),
            control("temperature", "Temperature", TEMPERATURES, when=asks("temperature")),
            control("text", "The text (change it, then press Enter)", [], kind="text", more=True),
        ]

    def _continuation(self, name: str, text: str) -> list[int]:
        model, tokenizer = self._models[name]
        how = {"eos_token_id": tokenizer.end, "max_new_tokens": WRITTEN, "sampler": Greedy()}
        (written,) = write(model, [_ids(tokenizer, text)], **how)
        return written

    def compute(self, state: dict) -> tuple[dict, str]:
        name, text, change = state["model"], state["text"], arguments(state)
        model, tokenizer = self._models[name]
        ids = _ids(tokenizer, text)
        if len(ids) > LONGEST:
            raise ValueError(f"the text has {len(ids)} tokens, and the picture holds {LONGEST}: shorten it")
        found, written = effect(model, ids, change), [self._untouched(name, text)]
        with intervene(model, **change):
            written.append(self._continuation(name, text))
        data = seen(found, ids, written, tokenizer)
        return data, words(name, named(state), data)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [tokenizer.end, *tokenizer.encode(text)]


def seen(found: Effect, ids: list[int], written: list[list[int]], tokenizer: Tokenizer) -> dict:
    """What the page draws: the text's tokens with their losses, the next tokens, and the two continuations."""
    before, after = found.probabilities
    table = candidates(before, after, ROWS, also=int(after.argmax()))
    rows = zip(pieces(tokenizer, table.index), table.own, table.reshaped, strict=True)
    same, known = agreeing(*written), table.index.tolist()
    return {
        "tokens": pieces(tokenizer, ids),
        "losses": found.losses.tolist(),
        "mean": found.losses.mean(1).tolist() if len(ids) > 1 else None,
        "bars": [{"piece": piece, "before": own, "after": changed} for piece, own, changed in rows],
        "best": [known.index(token) for token in found.probabilities.argmax(-1).tolist()],
        "kl": found.kl,
        "written": [[tokenizer.decode(one[:same]), tokenizer.decode(one[same:])] for one in written],
        "agreeing": same,
    }


def words(name: str, change: str, data: dict) -> str:
    """What the picture shows."""
    said = [f"{name}, {change}:"]
    if data["mean"]:
        before, after = data["mean"]
        each = torch.tensor(data["losses"])
        most = int((each[1] - each[0]).abs().argmax())
        said.append(
            f"the text's loss goes from {before:.2f} to {after:.2f} nats per token, most at "
            f'"{data["tokens"][most + 1]}" ({each[0][most]:.2f} to {each[1][most]:.2f});'
        )
    one, other = (data["bars"][i] for i in data["best"])
    said.append(
        f'the next token was "{one["piece"]}" ({one["before"]:.0%}) and is "{other["piece"]}" ({other["after"]:.0%});'
    )
    same, ends = data["agreeing"], [rest for _, rest in data["written"]]
    apart = f"after {same} equal token{'s' * (same != 1)} it goes on in other words"
    said.append(f"{apart if any(ends) else 'it goes on in the same words'}.")
    return " ".join(said)
