"""Lesson 05, multi-head latent attention: the exercises under "Going further"."""

import math

from lmlab.course.exercises import exercise
from lmlab.parts.mla import MLAConfig
from lmlab.parts.rope import RoPEConfig, YaRN


@exercise(
    "05.4",
    "When absorbing stops paying",
    difficulty=3,
    importance=3,
    minutes=10,
    returns="a whole number of queries",
    probes=lambda: [(512, 128, 64, 128), (512, 192, 64, 256), (120, 50, 6, 40), (100, 20, 6, 30)],
    truth=lambda rank, nope, rope, v: (
        MLAConfig(
            num_attention_heads=1,
            kv_lora_rank=rank,
            qk_nope_head_dim=nope,
            qk_rope_head_dim=rope,
            v_head_dim=v,
            rope=RoPEConfig(rope_theta=10_000.0),
        ).absorbed_up_to
    ),
    hints=(
        "Count multiplications per head and cached key, for T queries.",
        "Expanded: rank * (nope + v) once, to make the key and the value; then nope + rope for the score and v for the "
        "sum, for each query. Absorbed: (rank + rope) for the score and rank for the sum, for each query.",
        "The largest whole T with T * (2 rank + rope) < rank * (nope + v) + T * (nope + rope + v).",
    ),
    mistakes={
        "when the weighted sum of latents is forgotten: rank multiplications for the score, and rank for the sum": {
            "(2 * rank + rope)": "(rank + rope)"
        },
        "when only the keys are expanded: the values are, too": {"rank * (nope + v)": "rank * nope"},
        "when the expanded form's own scores and sums are forgotten": {" - (nope + rope + v)": ""},
        "one too many where both cost the same: fewer multiplications are asked for": {
            "(expand - 1) // extra": "expand // extra"
        },
        "not rounded down to a whole number of queries": {"(expand - 1) // extra": "expand / extra"},
        "when the RoPE part is counted for the absorbed form alone: both have it": {"(nope + rope + v)": "(nope + v)"},
    },
    after="170 for DeepSeek-V3: one token at a time pays by far, a prompt of thousands does not. "
    "`MLAConfig.absorbed_up_to` decides in lmlab; it counts arithmetic alone, and bytes favour absorbing still longer.",
)
def break_even(rank, nope, rope, v):
    expand = rank * (nope + v)
    extra = (2 * rank + rope) - (nope + rope + v)
    return (expand - 1) // extra


@exercise(
    "05.5",
    "Where GQA wins",
    difficulty=2,
    importance=3,
    minutes=6,
    returns="a whole number of heads",
    probes=lambda: [(512, 64, 128), (448, 64, 64), (1024, 96, 64), (500, 64, 40)],
    truth=lambda rank, rope_width, head_dim: max(
        heads for heads in range(100) if 2 * heads * head_dim <= rank + rope_width
    ),
    hints=(
        "GQA keeps a key and a value of head_dim numbers for each key/value head.",
        "MLA keeps rank + rope_width numbers, whatever its heads.",
        "How many times does 2 * head_dim go into rank + rope_width?",
    ),
    mistakes={
        "when a factor of 2 is lost: GQA keeps a key and a value for each head, MLA one latent for both": {
            "(2 * head_dim)": "head_dim"
        },
        "when MLA's RoPE key is forgotten": {"(rank + rope_width)": "rank"},
        "one too few where both keep the same: no more is asked for": {
            "(rank + rope_width) // (2 * head_dim)": "(rank + rope_width - 1) // (2 * head_dim)"
        },
        "not rounded down to whole heads": {"// (2 * head_dim)": "/ (2 * head_dim)"},
        "rounded up: that many heads would already need more": {
            "(rank + rope_width) // (2 * head_dim)": "-((rank + rope_width) // -(2 * head_dim))"
        },
    },
    after="Two heads of 128: GQA with 1 or 2 key/value heads keeps less than DeepSeek's MLA. MLA's point is that 128 "
    "heads may still differ.",
)
def kv_heads_at_par(rank, rope_width, head_dim):
    return (rank + rope_width) // (2 * head_dim)


@exercise(
    "05.6",
    "The scale with YaRN",
    difficulty=3,
    importance=2,
    minutes=8,
    returns="a number",
    probes=lambda: [(128, 64, 40.0, 1.0), (128, 64, 40.0, 0.707), (20, 6, 4.0, 1.0)],
    truth=lambda nope, rope, factor, mscale: (
        (nope + rope) ** -0.5
        * YaRN(
            factor=factor, original_max_position_embeddings=4096, mscale=mscale, mscale_all_dim=mscale
        ).softmax_factor
    ),
    hints=(
        "Without YaRN it is one over the root of a head's query width, nope + rope.",
        "YaRN's temperature is 0.1 * mscale * ln(factor) + 1.",
        "DeepSeek leaves cos and sin alone and multiplies the scale by the square of the temperature: once for the "
        "query, once for the key.",
    ),
    mistakes={
        "with the temperature once in place of squared: it stands for query and key": {"temperature**2": "temperature"},
        "when mscale is forgotten in the temperature": {"0.1 * mscale *": "0.1 *"},
        "without the + 1 in the temperature": {" + 1": ""},
        "multiplied by the root of the width, not divided by it": {"** -0.5": "** 0.5"},
        "when the temperature is missing": {" * temperature**2": ""},
        "with the part without RoPE alone in the root": {"(nope + rope)": "nope"},
        "with a logarithm to base 10": {"math.log(factor)": "math.log10(factor)"},
        "with a logarithm to base 2": {"math.log(factor)": "math.log2(factor)"},
    },
    after="0.1352 for DeepSeek-V3, where 192^-0.5 alone is 0.0722. The paper calls YaRN a matter of the RoPE key; the "
    "code scales the whole score: larger scores, a sharper softmax.",
)
def softmax_scale(nope, rope, factor, mscale):
    temperature = 0.1 * mscale * math.log(factor) + 1
    return (nope + rope) ** -0.5 * temperature**2
