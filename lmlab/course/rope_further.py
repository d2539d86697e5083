"""Lesson 03, RoPE: the exercises under "Going further"."""

import math

import torch

from lmlab.course.exercises import exercise
from lmlab.measure.rope import hands
from lmlab.parts.rope import NTK, RoPEConfig


@exercise(
    "03.4",
    "One rotation, two layouts",
    difficulty=2,
    importance=3,
    minutes=8,
    returns="(..., D), the same numbers in another order",
    probes=lambda: [(torch.arange(40.0).reshape(4, 10),), (torch.arange(84.0).reshape(2, 1, 3, 14).sin(),)],
    truth=lambda x: x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2),
    hints=(
        "Interleaved, the pairs are (0, 1), (2, 3), ...; half-split, they are (0, D/2), (1, D/2 + 1), ...",
        "So the first of each pair, the even dimensions, become the first half.",
        "x[..., 0::2] are the even dimensions.",
    ),
    mistakes={
        "with the halves exchanged: the first of each pair must come first, or the hands turn backwards": {
            "x[..., 0::2], x[..., 1::2]": "x[..., 1::2], x[..., 0::2]"
        },
        "the other way, from half-split to interleaved": {
            "torch.cat((x[..., 0::2], x[..., 1::2]), dim=-1)": "torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)"
        },
        "when nothing is moved": {"torch.cat((x[..., 0::2], x[..., 1::2]), dim=-1)": "x"},
    },
    after="A permutation of dimensions that queries and keys share leaves every score as it is. So transformers may "
    "keep DeepSeek's rotation half-split inside; the two must only not be compared number by number.",
)
def to_half_split(x):
    return torch.cat((x[..., 0::2], x[..., 1::2]), dim=-1)


def _unseen(theta, new_theta, dim, trained, target) -> int:
    now, then = RoPEConfig(rope_theta=new_theta), RoPEConfig(rope_theta=theta)
    return int(hands(now, dim, target, trained=then, trained_length=trained).unseen.sum())


@exercise(
    "03.5",
    "Which hands meet new angles",
    difficulty=3,
    importance=4,
    minutes=12,
    probes=lambda: [
        (10_000.0, 10_000.0, 128, 4096, 32_768),
        (10_000.0, 1_000_000.0, 128, 4096, 32_768),
        (10_000.0, 50_000.0, 128, 4096, 131_072),
        (500.0, 900.0, 20, 300, 2000),
    ],
    truth=_unseen,
    returns="a whole number",
    hints=(
        "A hand makes length * frequency / (2 pi) turns on a text.",
        "A hand that finished a turn in training has had every angle: nothing is new to it.",
        "Count the hands that made less than one turn in training (with the old theta) and go further now (new theta).",
    ),
    mistakes={
        "when the hands that did finish a turn are counted: they have seen every angle": {"before < 1": "before >= 1"},
        "without the 2 pi: a turn is 2 pi radians": {"/ (2 * math.pi)": ""},
        "with the new theta in training too; the model was trained with the old one": {
            "turns(theta, trained)": "turns(new_theta, trained)"
        },
        "when every hand that did not finish is counted, also one that now goes no further than it went before": {
            "(before < 1) & (now > before)": "before < 1"
        },
        "when every hand that goes further is counted, also one that has had every angle already": {
            "(before < 1) & (now > before)": "now > before"
        },
        "when only hands are counted that finish a turn now; the slower ones meet new angles as well": {
            "(now > before)": "(now >= 1)"
        },
    },
    after="At 32,768 tokens 18 hands meet new angles with theta 10,000, and none with 1,000,000: that is what Qwen3's "
    "long stage buys. What it costs is lesson 04.",
)
def unseen(theta, new_theta, dim, trained, target):
    def turns(base, length):
        return length * base ** (-2 * torch.arange(dim // 2) / dim) / (2 * math.pi)  # (D/2,)

    before, now = turns(theta, trained), turns(new_theta, target)
    return int(((before < 1) & (now > before)).sum())


@exercise(
    "03.6",
    "The base that stretches by a factor",
    difficulty=4,
    importance=2,
    minutes=12,
    tolerance=1e-3,
    returns="a number",
    probes=lambda: [(10_000.0, 128, 8.0), (10_000.0, 64, 4.0), (500.0, 20, 3.0)],
    # hand 1 of the stretched set is base^(-2 / dim): it says which base
    truth=lambda theta, dim, factor: (
        float(NTK(factor=factor).inverse_frequencies(theta, dim).double()[1]) ** (-dim / 2)
    ),
    hints=(
        "The slowest hand has i = D/2 - 1: its frequency is theta^(-(D - 2) / D).",
        "It is to become `factor` times slower: new^(-(D - 2) / D) = theta^(-(D - 2) / D) / factor.",
        "Raise both sides to the power -D / (D - 2).",
    ),
    mistakes={
        "when theta itself is multiplied by the factor: the slowest hand then slows by a little less": {
            " ** (dim / (dim - 2))": ""
        },
        "with the exponent upside down": {"dim / (dim - 2)": "(dim - 2) / dim"},
        "with D/2 - 2 in place of D - 2, hands and dimensions mixed up": {"(dim - 2)": "(dim / 2 - 2)"},
        "when the base is lowered: that makes the hands faster": {"theta * factor": "theta / factor"},
    },
    after='This is "NTK-aware" scaling: the fastest hand keeps its speed exactly, the slowest slows by exactly the '
    "factor, and the others by something between.",
)
def ntk_theta(theta, dim, factor):
    return theta * factor ** (dim / (dim - 2))
