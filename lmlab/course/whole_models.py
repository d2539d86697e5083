"""Lesson 08, whole models: its prediction, and the exercises in its path."""

from dataclasses import replace
from functools import cache

import torch

import lmlab.families
from lmlab.configuration import ModelConfig
from lmlab.course.calculators import CALCULATORS, fields_of
from lmlab.course.exercises import Prediction, exercise
from lmlab.measure import sizes
from lmlab.measure.cost import Cost
from lmlab.measure.devices import device


def _shares() -> str:
    experts = sizes.count(lmlab.families.config("gpt-oss-120b"))["total"]
    dense = sizes.count(lmlab.families.config("qwen3-32b"))["total"]
    return (
        f"Computed: {experts['experts'] / experts.sum():.1%} of {experts.sum() / 1e9:.1f} billion are experts, "
        f"{experts['attention'] / experts.sum():.1%} attention. In Qwen3-32B, which has no experts, attention is "
        f"{dense['attention'] / dense.sum():.0%}."
    )


share = Prediction(
    number="08.0",
    title="Where the parameters are",
    question="gpt-oss-120b has 128 experts in each of its 36 layers, and 64 query heads. Which share of all its "
    "parameters lies in the experts?",
    choices={
        "about half: attention is the other half": "Attention has four matrices a layer, the experts have 256.",
        "about 80%": "That would be much for a dense model: Qwen3-32B's MLPs have 77%.",
        "about 98%": "",
        "about 4%, since 4 of 128 are chosen": "That many serve one token. All of them lie in memory.",
    },
    right="about 98%",
    answer=_shares,
)


@cache
def _dense(layers: int, hidden_size: int, heads: int, kv_heads: int, head_dim: int, width: int, rows: int, tied: bool):
    """A model built as Qwen3's dense ones are."""
    block = lmlab.families.config("qwen3-8b").blocks[0]
    attention = replace(block.attention, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim)
    block = replace(block, attention=attention, mlp=replace(block.mlp, intermediate_size=width))
    return ModelConfig(
        vocab_size=rows,
        hidden_size=hidden_size,
        blocks=(block,) * layers,
        tie_word_embeddings=bool(tied),
        max_position_embeddings=1024,
    )


@exercise(
    "08.1",
    "Count a dense model",
    difficulty=2,
    importance=5,
    minutes=12,
    probes=lambda: [
        (28, 1024, 16, 8, 128, 3072, 151_936, True),
        (64, 5120, 64, 8, 128, 25_600, 151_936, False),
        (3, 40, 6, 2, 10, 70, 90, False),
        (2, 40, 6, 3, 10, 50, 70, True),
    ],
    returns="a whole number of parameters",
    tolerance=1e-9,
    rounding=1e-12,
    truth=lambda *values: sizes.total(_dense(*values)),
    hints=(
        "Attention: q and o are hidden_size x heads * head_dim, k and v are hidden_size x kv_heads * head_dim.",
        "The MLP has three matrices of hidden_size x width: gate, up and down.",
        "Norms: two of hidden_size a layer and one at the end; QK-Norm has two of head_dim a layer. A tied head is the "
        "embedding itself: it counts once.",
    ),
    mistakes={
        "with hidden_size / heads for the width of a head: Qwen3 sets head_dim by itself": {
            "2 * head_dim * (heads + kv_heads)": "2 * (hidden_size // heads) * (heads + kv_heads)"
        },
        "with as many key/value heads as query heads": {"(heads + kv_heads)": "(heads + heads)"},
        "with two matrices in the MLP: SwiGLU has three": {"3 * hidden_size * width": "2 * hidden_size * width"},
        "when a tied table is counted twice, as embedding and as head": {"(1 if tied else 2)": "2"},
        "when the head is forgotten: without tying it is a table of its own": {"(1 if tied else 2)": "1"},
        "without the embedding tables": {"layer + tables": "layer"},
        "without the norms before attention and MLP": {"2 * hidden_size + 2 * head_dim": "2 * head_dim"},
        "without QK-Norm's weights": {"2 * hidden_size + 2 * head_dim": "2 * hidden_size"},
        "without the norm at the end": {"tables + hidden_size": "tables"},
    },
    after="596,049,920 for qwen3-0.6b, of which 26% is the embedding, and 32,762,123,264 for qwen3-32b. "
    "`lmlab.measure.sizes` counts the modules themselves.",
)
def parameters(layers, hidden_size, heads, kv_heads, head_dim, width, rows, tied):
    attention = hidden_size * 2 * head_dim * (heads + kv_heads)
    layer = attention + 3 * hidden_size * width + 2 * hidden_size + 2 * head_dim
    tables = (1 if tied else 2) * rows * hidden_size
    return layers * layer + tables + hidden_size


def _asked(name: str, tokens: int) -> torch.Tensor:
    return torch.tensor(fields_of(lmlab.families.config(name), tokens))


def _counts(calculator, values: torch.Tensor) -> list[bool]:
    """The truth for 08.2, from bytes: whether each field's doubling leaves them the same."""
    doubled = values * (1 + torch.eye(len(values), dtype=torch.long))  # a row for each field
    return [calculator(row) == calculator(values) for row in doubled]


@exercise(
    "08.2",
    "Which calculator is wrong",
    difficulty=2,
    importance=5,
    minutes=10,
    probes=lambda: [
        (CALCULATORS["A"], _asked("qwen3-32b", 5000)),
        (CALCULATORS["B"], _asked("deepseek-v3", 5000)),
        (CALCULATORS["C"], _asked("gpt-oss-120b", 5000)),
        (CALCULATORS["D"], _asked("gpt-oss-120b", 5000)),
    ],
    returns="a list, for each field 1 if doubling it alone changes nothing, else 0",
    truth=_counts,
    hints=(
        "Ask the calculator once with the values as they are, then once for each field, with that field doubled.",
        "`changed = values.clone()` keeps the others as they are.",
        "The answer has as many entries as `values`, in their order.",
    ),
    mistakes={
        "when a field stays doubled while the next ones are tried": {"values.clone()": "values"},
        "the other way round: 1 for the fields that count": {"== before": "!= before"},
        "when one is added to a field, not doubled: a division without remainder swallows it": {
            "2 * changed[i]": "changed[i] + 1"
        },
        "when the field before the doubled one is reported": {"range(len(values))": "range(-1, len(values) - 1)"},
    },
    after="A knows no head_dim, B no RoPE key, C no window. Each is right for some model: A for qwen3-8b, where "
    "hidden_size / heads is 128; B for all but DeepSeek; C for all but GPT-OSS. D ignores hidden_size and heads, as it "
    "should.",
)
def ignored(calculator, values):
    before = calculator(values)
    found = []
    for i in range(len(values)):
        changed = values.clone()
        changed[i] = 2 * changed[i]
        found.append(calculator(changed) == before)
    return found


# model, device, texts, tokens in each; the last is bound by compute, the others by bandwidth
CASES = (
    ("qwen3-8b", "nvidia-rtx-4090", 1, 2000),
    ("qwen3-32b", "nvidia-b200-sxm", 8, 3000),
    ("qwen3-8b", "apple-m4-max", 64, 200),
)


@cache
def _steps() -> dict[tuple, float]:
    """The arguments of 08.3 -> tokens per second, as Cost has them."""
    found = {}
    for name, chip, batch, context in CASES:
        priced = Cost(lmlab.families.config(name), device(chip), batch=batch, context=context)
        step = priced.decode()
        arguments = (step.weights, step.cache / batch, step.flops / batch, batch)
        found[(*arguments, priced.device.bandwidth, priced.device.two_byte)] = step.tokens_per_second
    return found


@exercise(
    "08.3",
    "Tokens per second, at most",
    difficulty=2,
    importance=5,
    minutes=8,
    probes=lambda: [*_steps()],
    returns="a number of tokens per second, of all texts together",
    truth=lambda *arguments: _steps()[arguments],
    hints=(
        "One step writes one token in each of `batch` texts. It reads the weights once, and the cache of each text.",
        "Moving takes bytes / bandwidth, computing takes FLOP / peak. Both go on at once.",
        "The slower of the two is the time of a step; a step writes `batch` tokens.",
    ),
    mistakes={
        "when the weights are read once for each text: one reading serves all": {
            "(weights + batch * cache)": "batch * (weights + cache)"
        },
        "when the cache is read for one text only: each text has its own": {"batch * cache": "cache"},
        "when moving and computing wait for each other: they go on at once": {
            "max(moving, computing)": "(moving + computing)"
        },
        "with the faster of the two as the time of a step": {"max(moving, computing)": "min(moving, computing)"},
        "in steps per second: a step writes a token in each text": {"batch / max": "1 / max"},
        "by bandwidth alone": {"max(moving, computing)": "moving"},
        "by arithmetic alone": {"max(moving, computing)": "computing"},
    },
    after="For one text it is nearly bandwidth / weights. That is why a model with few active parameters writes fast, "
    "and why 4-bit weights help even where nothing is multiplied in 4 bits.",
)
def tokens_per_second(weights, cache, flops, batch, bandwidth, peak):
    moving = (weights + batch * cache) / bandwidth
    computing = batch * flops / peak
    return batch / max(moving, computing)
