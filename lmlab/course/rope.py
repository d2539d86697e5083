"""Lesson 03, RoPE: its prediction, and the exercises in its path."""

from functools import cache

import torch

from lmlab.course.exercises import Prediction, exercise
from lmlab.measure.rope import hands
from lmlab.parts.core import attention
from lmlab.parts.rope import RoPE, RoPEConfig


def _unfinished() -> str:
    table = hands(RoPEConfig(rope_theta=10_000.0), 128, 4096)
    slow = int((table.trained_turns < 1).sum())
    return (
        f"Computed: {slow} of the {len(table)} hands do not finish a turn within 4,096 tokens; the slowest comes "
        f"{table.turns.min():.1%} of the way."
    )


unfinished = Prediction(
    number="03.0",
    title="Hands that never come round",
    question="Theta 10,000, 128 dimensions: 64 hands. How many of them do not finish one turn within 4,096 tokens?",
    choices={
        "none: 4,096 tokens are long": "The fastest hand turns 652 times; but each one is slower than the one before.",
        "1, the slowest": "The slowest hand needs 54,410 tokens for a turn, and its neighbours are nearly as slow.",
        "18, more than a quarter": "",
        "63, all but the fastest": "The speeds fall by the same factor, 1.15, from hand to hand: many are quite fast.",
    },
    right="18, more than a quarter",
    answer=_unfinished,
)


@cache
def _rope(dim: int = 10, theta: float = 100.0, interleaved: bool = False) -> RoPE:
    return RoPEConfig(rope_theta=theta, interleaved=interleaved).build(dim)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _turned(x: torch.Tensor, position: int) -> torch.Tensor:
    """x (..., D) at one position."""
    rope = _rope(x.shape[-1])
    cos, sin = rope(torch.tensor([[position]]))  # (1, 1, 1, D)
    return rope.rotate(x, cos[0, 0, 0], sin[0, 0, 0])


@exercise(
    "03.1",
    "How fast each hand turns",
    difficulty=1,
    importance=5,
    minutes=6,
    probes=lambda: [(10_000.0, 128), (150_000.0, 64), (50.0, 6)],
    truth=lambda theta, dim: RoPEConfig(rope_theta=theta).inverse_frequencies(dim),
    rounding=0,
    returns="(dim / 2,), one speed for each pair of dimensions, in radians per token",
    hints=(
        "There is one hand for each pair of dimensions: dim / 2 of them, counted from 0.",
        "Hand 0 turns by 1 radian a token. Each hand is slower than the one before by the same factor.",
        "That factor is theta^(2 / dim): hand i turns by theta^(-2 i / dim) radians a token.",
    ),
    mistakes={
        "with the exponent i / D in place of 2 i / D, so that the hands slow down only half as far": {
            "-2 * i / dim": "-i / dim"
        },
        "with a 2 too many: i counts pairs, and 2 i dimensions": {"-2 * i / dim": "-4 * i / dim"},
        "without the minus sign: these are radians that grow, the hands would get faster and faster": {
            "-2 * i": "2 * i"
        },
        "when the hands are counted from 1: the first one should turn by exactly 1 radian a token": {
            "torch.arange(dim // 2)": "torch.arange(1, dim // 2 + 1)"
        },
        "when the last hand is made to reach 1 / theta itself (i over D/2 - 1); the real one stops a step before": {
            "/ dim": "/ (dim - 2)"
        },
        "in whole turns a token; here radians are asked for, 2 pi of them to a turn": {
            "theta ** (-2 * i / dim)": "theta ** (-2 * i / dim) / (2 * torch.pi)"
        },
        "as wavelengths, tokens for a whole turn: the right thing to plot, but not the speed": {
            "theta ** (-2 * i / dim)": "2 * torch.pi * theta ** (2 * i / dim)"
        },
    },
    after="The real one is `plain_inverse_frequencies` in `lmlab/parts/rope.py`. Its order of operations is that of "
    "the vendors, bit for bit: at position 100,000 the last bit of a frequency is an angle of 0.006 radians.",
)
def frequencies(theta, dim):
    i = torch.arange(dim // 2)  # (D/2,)
    return theta ** (-2 * i / dim)


@exercise(
    "03.2",
    "Turn the hands",
    difficulty=2,
    importance=5,
    minutes=10,
    tolerance=2e-3,
    rounding=1e-3,
    returns="(T, D), the rotated vectors",
    probes=lambda: [
        (_random(3, 14, seed=1), torch.tensor([257, 1030, 2049]), _rope(14).inv_freq),
        (_random(4, 10), torch.tensor([0, 1, 7, 30]), _rope(10).inv_freq),
    ],
    truth=lambda x, positions, inv_freq: _rope(x.shape[-1]).rotate(
        x, *(table[0, 0] for table in _rope(x.shape[-1])(positions[None]))
    ),
    hints=(
        "The angle of hand i at position p is p * inv_freq[i]: a table with T rows and D/2 columns.",
        "Pair (a, b) turns to (a cos - b sin, b cos + a sin).",
        "GPT-OSS and Qwen3 pair dimension i with i + D/2: `a, b = x.chunk(2, dim=-1)`, and torch.cat puts them back.",
    ),
    mistakes={
        "when the hands turn backwards: both signs of the sine are the other way round": {
            "a * cos - b * sin": "a * cos + b * sin",
            "b * cos + a * sin": "b * cos - a * sin",
        },
        "with a plus in the first half: no rotation, it changes the length of the vector": {
            "a * cos - b * sin": "a * cos + b * sin"
        },
        "with a minus in the second half: no rotation, it changes the length of the vector": {
            "b * cos + a * sin": "b * cos - a * sin"
        },
        "when sine and cosine have changed places": {"angle.cos(), angle.sin()": "angle.sin(), angle.cos()"},
        "with the layouts mixed: angles repeated for neighbours (repeat_interleave), pairs made of halves": {
            "return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)": (
                "cos, sin = cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)\n"
                "    return x * cos + torch.cat((-b, a), dim=-1) * sin"
            )
        },
        "when the rows are taken to stand at 0, 1, 2, ...: `positions` says where they stand": {
            "positions[:, None]": "torch.arange(len(x))[:, None]"
        },
        "when the angles are taken for degrees; inv_freq is in radians": {
            "positions[:, None] * inv_freq": "(positions[:, None] * inv_freq).deg2rad()"
        },
        "with pairs of neighbours (2i, 2i + 1), DeepSeek's layout; here i goes with i + D/2": {
            "x.chunk(2, dim=-1)": "x.unflatten(-1, (-1, 2)).unbind(-1)",
            "torch.cat((": "torch.stack((",
            "b * cos + a * sin), dim=-1)": "b * cos + a * sin), dim=-1).flatten(-2)",
        },
        "with pairs of neighbours taken apart, and put back as halves": {
            "x.chunk(2, dim=-1)": "x.unflatten(-1, (-1, 2)).unbind(-1)"
        },
        "when positions count from 1": {"positions[:, None]": "(positions[:, None] + 1)"},
        "with angles in bfloat16: far along, neighbouring positions fall together": {
            "positions[:, None] * inv_freq": "(positions[:, None] * inv_freq).bfloat16().float()"
        },
    },
    after="The real one is `RoPE.rotate`. It writes the same as x cos + quarter_turn(x) sin, so that one line serves "
    "both layouts.",
)
def rotate(x, positions, inv_freq):
    angle = positions[:, None] * inv_freq  # (T, D/2)
    cos, sin = angle.cos(), angle.sin()
    a, b = x.chunk(2, dim=-1)  # (T, D/2) each
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)  # (T, D)


def _attend(q, k, v, past_k, past_v, rotate) -> torch.Tensor:
    """One query of one head over a cache, by the real core."""
    position = len(past_k)
    keys, values = torch.cat((past_k, rotate(k, position)[None])), torch.cat((past_v, v[None]))
    mask = torch.ones(1, 1, 1, len(keys), dtype=torch.bool)
    query = rotate(q, position)[None, None, None]  # (1, 1, 1, D)
    out, _ = attention(query, keys[None, None], values[None, None], mask, None, len(q) ** -0.5)
    return out[0, 0, 0]  # (D,)


def _step(length: int) -> tuple:
    q, k, v = _random(3, 10, seed=length) * 2
    past = _random(2, length, 10, seed=length + 1)
    past_k = torch.stack([_turned(row, i) for i, row in enumerate(past[0])])  # (S, D), as a cache holds them
    return q, k, v, past_k, past[1], _turned


@exercise(
    "03.3",
    "One step with a cache",
    difficulty=3,
    importance=4,
    minutes=12,
    returns="(D,), the weighted sum of the values",
    probes=lambda: [_step(4), _step(7)],
    truth=_attend,
    hints=(
        "The cache holds S tokens: they stand at positions 0 to S - 1. Where does the new one stand?",
        "The query and the new key are turned to that position. The old keys were turned when they came; they stay.",
        "Values are never turned. The new token sees itself too: S + 1 keys, then scores / sqrt(D), softmax, values.",
    ),
    mistakes={
        "when the query is not rotated": {"turn_one(q, position), turn_one(k, position)": "q, turn_one(k, position)"},
        "with the position off by one: after tokens 0 to S - 1 the new one stands at S, not S + 1": {
            "position = len(past_k)": "position = len(past_k) + 1"
        },
        "when the new token takes the place of the last one, S - 1": {
            "position = len(past_k)": "position = len(past_k) - 1"
        },
        "when the new query and key are not rotated, or the step starts again at position 0": {
            "position = len(past_k)": "position = 0"
        },
        "when the value is rotated too: values carry what is said, not where": {
            "v[None]": "turn_one(v, position)[None]"
        },
        "when the new key is not rotated": {"turn_one(q, position), turn_one(k, position)": "turn_one(q, position), k"},
        "when the cached keys are rotated a second time": {
            "torch.cat((past_k, k[None]))": "torch.stack([*map(turn_one, past_k, range(position)), k])"
        },
        "when the new token does not see itself": {
            "torch.cat((past_k, k[None]))": "past_k",
            "torch.cat((past_v, v[None]))": "past_v",
        },
        "when the new key comes first and its value last: weights and values must be in one order": {
            "torch.cat((past_k, k[None]))": "torch.cat((k[None], past_k))"
        },
        "without dividing the scores by the root of D": {" / q.shape[-1] ** 0.5": ""},
        "when the scores are divided by D, not by its root": {" / q.shape[-1] ** 0.5": " / q.shape[-1]"},
    },
    after="In `lmlab/parts/gqa.py` the timeline knows the position, and the cache keeps keys that are already turned. "
    "An error of one position is hard to see in a model's text: it makes it a little worse.",
)
def decode(q, k, v, past_k, past_v, turn_one):
    position = len(past_k)  # tokens 0 to S - 1 came before
    q, k = turn_one(q, position), turn_one(k, position)  # (D,), (D,)
    keys = torch.cat((past_k, k[None]))  # (S + 1, D)
    values = torch.cat((past_v, v[None]))  # (S + 1, D)
    weights = (keys @ q / q.shape[-1] ** 0.5).softmax(dim=-1)  # (S + 1,)
    return weights @ values  # (D,)
