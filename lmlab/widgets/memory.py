"""The cache view: what the cache of each model holds as the text grows, and what fits on a GPU beside the weights."""

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
    kind,
    longest_text,
    released_format,
    weight_bytes,
)
from lmlab.parts.mla import MLAConfig
from lmlab.widgets.kit import View, control, joined

MODELS = [name for name in PRESETS if not name.startswith("mini-")]
LENGTHS = [2**k for k in range(10, 21)]
CURVE = [round(2 ** (k / 2)) for k in range(12, 41)]  # where the lines are computed: two points for each doubling
GPUS = [(n, gpu) for gpu in ("nvidia-rtx-4090", "nvidia-h100-sxm", "nvidia-h200-sxm") for n in (1, 8, 16)]
NAMES = {"nvidia-rtx-4090": "RTX 4090", "nvidia-h100-sxm": "H100", "nvidia-h200-sxm": "H200"}
NO_WINDOW = "none"
WINDOWS = [128, 512, 1024, 4096, NO_WINDOW]


def gpu_bytes(place: str) -> int:
    """Memory of an entry of the GPU control, by the vendor's number, in bytes."""
    number, gpu = GPUS[_gpu_labels().index(place)]
    return number * facts.value(gpu, "memory") * GB


@cache
def _gpu_labels() -> list[str]:
    return [f"{n} x {NAMES[gpu]}, {n * facts.value(gpu, 'memory'):,} GB" for n, gpu in GPUS]


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
                control("gpu", "GPU", _gpu_labels(), kind="choice"),
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
        start = {"models": flagships, "length": 131_072, "gpu": _gpu_labels()[-2], "show": "the whole cache"}
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
        per_token = state["show"] != "the whole cache"

        def at(row: dict, length: int) -> float:
            return row["at"](length) / (1000 * length * state["batch"] if per_token else GB)

        lines = [
            {
                "name": row["name"],
                "family": row["family"],
                "changed": row["changed"],
                "values": [at(row, n) for n in CURVE],
                "released": [row["released"], at(row, row["released"])],
                "kinds": {kind: row["kinds"][kind] / GB for kind in sorted(row["kinds"])},
                "weights": row["weights"] / GB,
                "cache": row["cache"] / GB,
            }
            for row in rows
        ]
        data = {
            "lines": lines,
            "lengths": CURVE,
            "length": state["length"],
            "logarithmic": not per_token,
            "gpu": gpu_bytes(state["gpu"]) / GB,
            "unit": "cache per token, kB" if per_token else "cache, GB",
            "table": {"columns": COLUMNS, "rows": [_cells(row) for row in rows]},
        }
        return data, summary(state, rows)


COLUMNS = [
    "Model",
    "Weights, GB",
    "Cache, GB",
    "per token, kB",
    "Left beside, GB",
    "Texts that fit",
    "Longest that fits, tokens",
]


def table(state: dict) -> list[dict]:
    """One row per line of the picture: the chosen models, and the changed one where it differs from the released."""
    rows = [_row(state, name, *_released(name)) for name in state["models"]]
    released, stored, weights = _released(state["what_if"])
    changed = what_if(state)
    if changed != released:
        # attention is a small share of the weights, but another design has others: counted anew
        weights = weight_bytes(changed, stored)
        rows.append(_row(state, state["what_if"], changed, stored, weights, changed=True))
    return rows


def _row(state: dict, name: str, config: ModelConfig, stored: str, weights: int, changed: bool = False) -> dict:
    length, batch = state["length"], state["batch"]
    held = cache_bytes(config, length, batch)
    left = gpu_bytes(state["gpu"]) - weights
    return {
        "name": f"{name}, changed" if changed else name,
        "family": family(name),
        "changed": changed,
        "at": lambda n: cache_bytes(config, n, batch),
        "kinds": cache_by_kind(config, length, batch),
        "attention": kind(config.blocks[-1].attention),
        "released": config.max_position_embeddings,
        "stored": stored,
        "weights": weights,
        "cache": held,
        "tokens": length * batch,
        "left": left,
        "texts": max(left, 0) // (held // batch),
        "longest": longest_text(config, left, batch) if left > 0 else 0,
    }


def _cells(row: dict) -> list[str]:
    fits = row["left"] > 0
    per_token = row["cache"] / 1000 / row["tokens"]
    return [
        row["name"],
        f"{row['weights'] / GB:,.1f} ({row['stored']})",
        f"{row['cache'] / GB:,.3g}",
        f"{per_token:,.1f}",
        f"{row['left'] / GB:,.1f}" if fits else "does not fit",
        f"{row['texts']:,}" if fits else "-",
        f"{row['longest']:,}" if fits else "-",
    ]


def summary(state: dict, rows: list[dict]) -> str:
    """What the picture shows, in words with its numbers."""
    ordered = sorted(rows, key=lambda row: row["cache"])
    each = ", ".join(f"{row['name']} {row['cache'] / GB:.3g}" for row in ordered)
    texts = "1 text" if state["batch"] == 1 else f"{state['batch']} texts"
    fits = "; ".join(_fit(row) for row in ordered)
    return f"Cache of {texts} of {state['length']:,} tokens, in GB: {each}. On {state['gpu']}: {fits}."


def _fit(row: dict) -> str:
    if row["left"] <= 0:
        return f"the {row['weights'] / GB:,.0f} GB of {row['name']} do not fit"
    return f"{row['name']} leaves room for {row['texts']:,}"
