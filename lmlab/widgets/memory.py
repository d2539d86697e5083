"""The cache view: what the cache of each model holds as the text grows, and what fits on a GPU beside the weights."""

from dataclasses import dataclass
from functools import cache

import lmlab.families
from lmlab import facts
from lmlab.configuration import ModelConfig, as_gqa, as_mla
from lmlab.families import PRESETS
from lmlab.figures.theme import family
from lmlab.measure.memory import (
    GB,
    cache_by_kind,
    cache_bytes,
    longest_text,
    released_format,
    weight_bytes,
)
from lmlab.parts.mla import MLAConfig
from lmlab.widgets.kit import View, control, joined

MODELS = [name for name in PRESETS if not name.startswith("mini-")]
LENGTHS = [2**k for k in range(10, 21)]
CURVE = [round(2 ** (k / 2)) for k in range(12, 41)]  # where the lines are computed: two points for each doubling
GPUS = {"nvidia-rtx-4090": "RTX 4090", "nvidia-h100-sxm": "H100", "nvidia-h200-sxm": "H200"}
NO_WINDOW = "none"
WINDOWS = [128, 512, 1024, 4096, NO_WINDOW]


@cache
def gpus() -> dict[str, int]:
    """What the GPU control offers: its label -> bytes, as the driver reports them (an "80 GB" H100 has 85.5)."""
    each = {name: facts.value(gpu, "memory_reported") * 2**20 for gpu, name in GPUS.items()}
    return {f"{n} x {name}, {n * held / GB:,.0f} GB": n * held for name, held in each.items() for n in (1, 8, 16)}


@cache
def _released(name: str) -> tuple[ModelConfig, str, int]:
    """Configuration, the format of the released weights, and their bytes."""
    config = lmlab.families.config(name)
    return config, released_format(config), weight_bytes(config, released_format(config))


def what_if(state: dict) -> ModelConfig:
    """The configuration of the model under "What if", built as its controls say."""
    config = lmlab.families.config(state["what_if"])
    if state["attention"] == "MLA":
        return as_mla(config, state["rank"], state["rope_width"])
    return as_gqa(config, state["kv_heads"], None if state["window"] == NO_WINDOW else state["window"])


def _as_built(name: str) -> dict:
    """A model's own design as values of the what-if controls; what it has not stands where it was."""
    attention = lmlab.families.config(name).blocks[0].attention
    if isinstance(attention, MLAConfig):
        return {"attention": "MLA", "rank": attention.kv_lora_rank, "rope_width": attention.qk_rope_head_dim}
    window = attention.sliding_window or NO_WINDOW
    return {"attention": "GQA", "kv_heads": attention.num_key_value_heads, "window": window}


class CacheView(View):
    """Bytes of the cache against the length of the text, by model and kind of layer; and what fits on a GPU.

    Keyword arguments set controls: models (a list of names), length, gpu, show; batch, what_if, attention, kv_heads,
    window, rank, rope_width.
    """

    _esm = joined("memory.js")

    def __init__(self, **state):
        mla, gqa = ("attention", ["MLA"]), ("attention", ["GQA"])
        self.set_trait(
            "controls",
            [
                control("models", "Models", MODELS, kind="many"),
                control("length", "Length of the text, tokens", LENGTHS),
                control("gpu", "GPU", [*gpus()], kind="choice"),
                control("show", "Show", ["the whole cache", "per token of text"], kind="choice"),
                control("what_if", "What if: model", MODELS, kind="choice", more=True),
                control("attention", "What if: attention by", ["GQA", "MLA"], kind="choice", more=True),
                control("kv_heads", "What if: key/value heads", [1, 2, 4, 8, 16, 32, 64, 128], more=True, when=gqa),
                control("window", "What if: window, every 2nd layer", WINDOWS, more=True, when=gqa),
                control("rank", "What if: width of the latent", [64, 128, 256, 512, 1024, 2048], more=True, when=mla),
                control("rope_width", "What if: width of the RoPE key", [16, 32, 64, 128], more=True, when=mla),
                control("batch", "Conversations at once", [1, 2, 4, 8, 16, 32, 64], more=True),
            ],
        )
        flagships = ["gpt-oss-120b", "qwen3-235b-a22b", "deepseek-v3"]
        start = {"models": flagships, "length": 131_072, "gpu": [*gpus()][-2], "show": "the whole cache"}
        built = {"what_if": "deepseek-v3", "kv_heads": 8, "window": NO_WINDOW, "batch": 1}
        self.set_trait("state", start | built | _as_built("deepseek-v3"))
        super().__init__(**state)

    def settle(self, old: dict, new: dict) -> dict:
        changed = new["what_if"] != old.get("what_if")
        new = new | _as_built(new["what_if"]) if changed else new
        # the order of the list, whatever order they were chosen in
        return new | {"models": [name for name in MODELS if name in new["models"]]}

    def compute(self, state: dict) -> tuple[dict, str]:
        rows = table(state)
        if not rows:
            raise ValueError("no model is chosen: choose at least one under Models")
        per_token, batch = state["show"] != "the whole cache", state["batch"]

        def at(row: Row, length: int) -> float:
            return cache_bytes(row.config, length, batch) / (1000 * length * batch if per_token else GB)

        lines = [
            {
                "name": row.name,
                "family": family(row.name),
                "changed": row.changed,
                "values": [at(row, n) for n in CURVE],
                "released": [row.config.max_position_embeddings, at(row, row.config.max_position_embeddings)],
                "kinds": {kind: held / GB for kind, held in sorted(row.kinds.items())},
                "weights": row.weights / GB,
                "cache": row.cache / GB,
            }
            for row in rows
        ]
        data = {
            "lines": lines,
            "lengths": CURVE,
            "length": state["length"],
            "logarithmic": not per_token,
            "gpu": gpus()[state["gpu"]] / GB,
            "unit": "cache per token, kB" if per_token else "cache, GB",
            "table": {"columns": COLUMNS, "rows": [_cells(row) for row in rows]},
        }
        return data, summary(state, rows)


COLUMNS = ["Model", "Weights, GB", "Cache, GB", "per token, kB", "Left beside, GB", "Texts that fit", "Longest, tokens"]


@dataclass(frozen=True)
class Row:
    """One line of the picture: a model, and what it holds for the texts that are asked about. Bytes."""

    name: str
    changed: bool
    config: ModelConfig
    stored: str
    weights: int
    kinds: dict[str, int]
    tokens: int
    batch: int
    left: int

    @property
    def cache(self) -> int:
        return sum(self.kinds.values())

    @property
    def texts(self) -> int:
        """How many texts of this length fit beside the weights."""
        return max(self.left, 0) // (self.cache // self.batch)


def table(state: dict) -> list[Row]:
    """The chosen models, and the changed one where it differs from the released."""
    found = [(name, False, *_released(name)) for name in state["models"]]
    released, stored, _ = _released(state["what_if"])
    changed = what_if(state)
    if changed != released:
        found.append((f"{state['what_if']} (changed)", True, changed, stored, weight_bytes(changed, stored)))
    length, batch, memory = state["length"], state["batch"], gpus()[state["gpu"]]
    return [
        Row(
            name=name,
            changed=changed,
            config=config,
            stored=stored,
            weights=weights,
            kinds=cache_by_kind(config, length, batch),
            tokens=length * batch,
            batch=batch,
            left=memory - weights,
        )
        for name, changed, config, stored, weights in found
    ]


def _short(gigabytes: float) -> str:
    return f"{gigabytes:,.0f}" if gigabytes >= 100 else f"{gigabytes:.3g}"


def _cells(row: Row) -> list[str]:
    fits = row.left > 0
    longest = longest_text(row.config, row.left, row.batch) if fits else 0
    return [
        row.name,
        f"{row.weights / GB:,.1f} ({row.stored})",
        _short(row.cache / GB),
        f"{row.cache / 1000 / row.tokens:,.1f}",
        f"{row.left / GB:,.1f}" if fits else "does not fit",
        f"{row.texts:,}" if fits else "-",
        "no limit" if longest is None else f"{longest:,}" if fits else "-",
    ]


def summary(state: dict, rows: list[Row]) -> str:
    """What the picture shows, in words with its numbers; the models in the order of the list."""
    each = ", ".join(f"{row.name} {_short(row.cache / GB)}" for row in rows)
    texts = "1 text" if state["batch"] == 1 else f"{state['batch']} texts"
    fits = "; ".join(_fit(row) for row in rows)
    return (
        f"Cache of {texts} of {state['length']:,} tokens, in GB: {each}. Beside the weights on {state['gpu']}: {fits}."
    )


def _fit(row: Row) -> str:
    if row.left <= 0:
        return f"no room for {row.name}, whose weights take {row.weights / GB:,.0f} GB"
    return f"{row.texts:,} such text{'s' * (row.texts != 1)} of {row.name}"
