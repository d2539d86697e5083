"""The cost view: models on a device as points under its roofline, what they hold of its memory, and how many tokens a
second they write and read at most."""

from functools import cache

import lmlab.families
from lmlab.families import PRESETS
from lmlab.measure import cost, devices, flops, memory
from lmlab.measure.cost import Cost, Pass
from lmlab.measure.devices import Device
from lmlab.measure.memory import GB
from lmlab.widgets.cost_tables import Row, experts, fits, longest, short, speeds
from lmlab.widgets.kit import View, control, joined

MODELS = [name for name in PRESETS if not name.startswith("mini-")]
IN_EIGHTS = ("nvidia-a100-sxm", "nvidia-h100-sxm", "nvidia-h200-sxm", "nvidia-b200-sxm", "amd-mi300x", "amd-mi355x")
BATCHES = [2**k for k in range(11)]
CONTEXTS = [2**k for k in range(8, 21)]
AS_RELEASED = "as released"
MORE_FORMATS = {"mxfp4": "mxfp4, experts only", "mxfp4 throughout": "mxfp4, all matrices"}


@cache
def offers() -> dict[str, Device]:
    """What the device control offers: its label -> one device, or eight in one machine."""
    counts = {name: (1, 8) if name in IN_EIGHTS else (1,) for name in devices.NAMES}
    each = [devices.device(name, count) for name, several in counts.items() for count in several]
    return {f"{one.label}, {one.memory / GB:,.0f} GB": one for one in each}


@cache
def _config(name: str):
    return lmlab.families.config(name)


@cache
def _flops_by_context(name: str) -> list[int]:
    """FLOPs of writing one token after so many, for each of CONTEXTS."""
    return [flops.total(_config(name), 1, context) for context in CONTEXTS]


def rows(state: dict) -> list[Row]:
    """The chosen models as the state asks for them."""
    weights = None if state["weights"] == AS_RELEASED else state["weights"]
    found = []
    for number, name in enumerate(state["models"], 1):
        priced = Cost(
            _config(name),
            offers()[state["device"]],
            batch=state["batch"],
            context=state["context"],
            weight_format=weights,
            cache_format=state["cache"],
        )
        found.append(Row(number, name, priced, priced.decode(), priced.prefill))
    return found


class CostView(View):
    """Models under the roofline of a device: writing (decode) and reading (prefill), memory, and tokens per second.

    Keyword arguments set controls: models (a list of names), device, batch, context; weights, cache.
    """

    _esm = joined("cost.js")

    def __init__(self, **state):
        weights = [AS_RELEASED, *memory.WEIGHT_FORMATS]
        self.set_trait(
            "controls",
            [
                control("models", "Models", MODELS, kind="many"),
                control("device", "Device", [*offers()], kind="choice"),
                control("batch", "Texts at once", BATCHES),
                control("context", "Tokens in each text", CONTEXTS),
                control(
                    "weights",
                    "Weights in",
                    weights,
                    [MORE_FORMATS.get(one, one) for one in weights],
                    kind="choice",
                    more=True,
                ),
                control("cache", "Cache in", [*memory.CACHE_FORMATS], kind="choice", more=True),
            ],
        )
        flagships = ["gpt-oss-120b", "qwen3-235b-a22b", "deepseek-v3"]
        eight = next(label for label, one in offers().items() if one.label == "8 x H200")
        start = {"models": flagships, "device": eight, "batch": 8, "context": 8192}
        self.set_trait("state", start | {"weights": AS_RELEASED, "cache": "bf16"})
        super().__init__(**state)

    def settle(self, old: dict, new: dict) -> dict:
        # the order of the list, whatever order they were chosen in
        return new | {"models": [name for name in MODELS if name in new["models"]]}

    def compute(self, state: dict) -> tuple[dict, str]:
        found = rows(state)
        if not found:
            raise ValueError("no model is chosen: choose at least one under Models")
        device = offers()[state["device"]]
        data = {
            "roofs": roofs(device),
            "bandwidth": device.bandwidth / 1e12,
            "memory": device.memory / GB,
            "rows": [_row(row) for row in found],
            "tables": [
                fits(found),
                speeds("Writing, at most", found, [row.write for row in found]),
                speeds("Reading, at most", found, [row.read for row in found]),
            ],
            "lines": [_touched(found, state["batch"]), _flops(found, state["context"])],
            "experts": experts(found, state["batch"]),
        }
        return data, summary(state, found)


def roofs(device: Device) -> list[dict]:
    """The device's peaks, the lowest first: format, TFLOP/s, and the FLOP per byte from which it is the bound."""
    peaks = {device.two_byte_format: device.two_byte, "FP8": device.fp8, "FP4": device.fp4}
    return [
        {"format": format, "peak": peak / 1e12, "ridge": peak / device.bandwidth}
        for format, peak in peaks.items()
        if peak
    ]


def _point(done: Pass) -> list[float]:
    return [done.intensity, done.flops_per_second / 1e12]


def _row(row: Row) -> dict:
    return row.looks | {
        "write": _point(row.write),
        "read": _point(row.read),
        "trail": [_point(row.cost.decode(batch)) for batch in BATCHES],
        "weights": row.cost.weights / GB,
        "cache": row.cost.cache / GB,
        "speed": row.write.tokens_per_second if row.cost.fits else 0,
        "says": f"{short(row.write.tokens_per_second)} ({row.write.bound})" if row.cost.fits else "does not fit",
    }


def _touched(found: list[Row], batch: int) -> dict:
    sparse = [row for row in found if cost.mixture(row.cost.config)]
    lines = [
        row.looks | {"values": [100 * row.cost.touched(n) / cost.mixture(row.cost.config).num_experts for n in BATCHES]}
        for row in sparse
    ]
    title = "Experts that one step of writing reads, if all were chosen alike and independently"
    if not lines:
        title = "No chosen model has experts"
    return {
        "title": title,
        "x": BATCHES,
        "at": batch,
        "xLabel": "texts at once",
        "yLabel": "% of a layer's experts",
        "logarithmic": False,
        "lines": lines,
    }


def _flops(found: list[Row], context: int) -> dict:
    lines = [row.looks | {"values": [n / 1e9 for n in _flops_by_context(row.name)]} for row in found]
    return {
        "title": "Arithmetic of writing one token: attention grows with the text",
        "x": CONTEXTS,
        "at": context,
        "xLabel": "tokens in the text",
        "yLabel": "GFLOP per token",
        "logarithmic": True,
        "lines": lines,
    }


def summary(state: dict, found: list[Row]) -> str:
    """What the picture shows, in words with its numbers; the models in the order of the list."""
    device = offers()[state["device"]]
    peaks = ", ".join(f"{short(roof['peak'])} TFLOP/s in {roof['format']}" for roof in roofs(device))
    texts = "1 text" if state["batch"] == 1 else f"{state['batch']:,} texts"
    head = (
        f"{device.label}: {device.memory / GB:,.0f} GB, {device.bandwidth / 1e12:.3g} TB/s, {peaks}. "
        f"{texts} of {state['context']:,} tokens."
    )
    return " ".join([head, *map(_sentence, found)])


def _sentence(row: Row) -> str:
    priced = row.cost
    held = f"{priced.weights / GB:,.1f} GB of weights ({priced.stored}) and {short(priced.cache / GB)} GB of cache"
    if not priced.fits:
        return f"{row.name} does not fit: {held}."
    return (
        f"{row.name}: {held}; writes at most {short(row.write.tokens_per_second)} tokens/s (bound by "
        f"{row.write.bound}), reads at most {short(row.read.tokens_per_second)} (bound by {row.read.bound}); "
        f"texts of up to {longest(row)} tokens fit."
    )
