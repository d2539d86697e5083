"""Lesson 02, attention: its prediction, and the exercises in its path."""

import math
from functools import cache

import torch

import lmlab.families
from lmlab.course.exercises import Prediction, exercise
from lmlab.measure import memory
from lmlab.parts import core
from lmlab.parts.masks import attention_mask


def _shared() -> str:
    config = lmlab.families.config("qwen3-235b-a22b")
    attention = config.blocks[0].attention
    held, as_mha = memory.cache_bytes(config, 131_072), memory.cache_bytes_as_mha(config, 131_072)
    return (
        f"Computed: {attention.num_attention_heads} query heads, {attention.num_key_value_heads} key/value heads. For "
        f"131,072 tokens it keeps {held / memory.GB:.1f} GB; with keys and values for every query head it would keep "
        f"{as_mha / memory.GB:.0f} GB."
    )


few = Prediction(
    number="02.0",
    title="How few need to answer",
    question="Qwen3-235B-A22B asks with 64 query heads in every layer. How many heads of keys and values answer them?",
    choices={
        "64, one for each": "That is multi-head attention, as in 2017.",
        "32, one for two": "Fewer: sharing goes much further.",
        "4, one for sixteen": "",
        "1, for all": "That is multi-query attention (2019). Qwen3 stops a little earlier.",
    },
    right="4, one for sixteen",
    answer=_shared,
)

HEADS, KEY_HEADS, WIDTH, VALUE, TOKENS = 6, 3, 4, 5, 7  # a different number for each


@cache
def _qkv() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((HEADS, TOKENS, WIDTH), (KEY_HEADS, TOKENS, WIDTH), (KEY_HEADS, TOKENS, VALUE))
    return tuple(1.5 * torch.randn(shape, generator=generator) for shape in shapes)


def _mask(window: int | None = None) -> torch.Tensor:
    return attention_mask(torch.arange(TOKENS), torch.arange(TOKENS), window)  # (1, 1, T, T)


@exercise(
    "02.1",
    "Six ask, three answer",
    difficulty=3,
    importance=5,
    minutes=12,
    probes=lambda: [_qkv()[:2]],
    returns="(H, T, T), one row of weights for each query",
    truth=lambda q, k: core.attention(q[None], k[None], k[None], _mask(), None, WIDTH**-0.5)[1][0],
    hints=(
        "Query heads that stand side by side share: with 6 and 3, heads 0 and 1 read key head 0.",
        "k.repeat_interleave(n, dim=0) writes each key head n times, one copy after the other.",
        "Scores are q k^T / sqrt(head_dim). What comes after the query gets minus infinity, then comes the softmax.",
    ),
    mistakes={
        "when query head h reads key head h % K: neighbours share, so it is h // (H / K)": {
            "k.repeat_interleave(len(q) // len(k), dim=0)": "k.repeat(len(q) // len(k), 1, 1)"
        },
        "when all query heads read the first key head": {
            "k.repeat_interleave(len(q) // len(k), dim=0)": "k[:1].expand(len(q), -1, -1)"
        },
        "without 1 / sqrt(head_dim)": {" / q.shape[-1] ** 0.5": ""},
        "when the scores are divided by head_dim: it is its root": {" / q.shape[-1] ** 0.5": " / q.shape[-1]"},
        "with the width of all heads together under the root: it is that of one head": {
            " / q.shape[-1] ** 0.5": " / (len(q) * q.shape[-1]) ** 0.5"
        },
        "without the causal mask": {"scores.masked_fill(~seen, -math.inf)": "scores"},
        "with the mask upside down: a query sees itself and what comes after": {".tril()": ".triu()"},
        "when hidden scores become 0 in place of minus infinity: 0 is a score like others": {
            "scores.masked_fill(~seen, -math.inf)": "scores.tril()"
        },
        "with the mask after the softmax: the rows no longer sum to one": {
            "scores.masked_fill(~seen, -math.inf).softmax(dim=-1)": "scores.softmax(dim=-1) * seen"
        },
        "with the softmax over the queries: each query's weights over the keys must sum to one": {
            "softmax(dim=-1)": "softmax(dim=-2)"
        },
    },
    after="The real one, `lmlab.parts.core.attention`, writes no copies: the query heads of one key head stand one "
    "below the other, and one product serves them all.",
)
def weights(q, k):
    k = k.repeat_interleave(len(q) // len(k), dim=0)  # (H, T, D)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (H, T, T)
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()  # (T, T)
    return scores.masked_fill(~seen, -math.inf).softmax(dim=-1)


@exercise(
    "02.2",
    "What a window leaves in sight",
    difficulty=2,
    importance=4,
    minutes=6,
    probes=lambda: [(9, 4), (6, 1), (5, 8)],
    returns="(tokens, tokens), True where the query (a row) sees the key (a column)",
    truth=lambda tokens, window: attention_mask(torch.arange(tokens), torch.arange(tokens), window)[0, 0],
    hints=(
        "A key must not come after the query: j <= i.",
        "The window counts the query itself: a window of 1 sees the query's own token and nothing else.",
        "i = torch.arange(tokens)[:, None] and j = torch.arange(tokens) make i - j a square of distances.",
    ),
    mistakes={
        "with one key too many: the window counts the query itself": {"i - j < window": "i - j <= window"},
        "with one key too few: the window counts the query itself": {"i - j < window": "i - j < max(window - 1, 1)"},
        "when tokens after the query are seen, too: the window cuts at the far end, the causal mask at the near one": {
            "(j <= i) & ": ""
        },
        "when the far tokens are kept and the near ones hidden": {"i - j < window": "i - j >= window"},
        "without the window": {" & (i - j < window)": ""},
        "with queries and keys exchanged: rows are queries": {"i, j =": "j, i ="},
        "with the text cut into blocks: the window slides with each query": {
            "i - j < window": "i // window == j // window"
        },
    },
    after="`lmlab.parts.masks.attention_mask` says the same for a cache and for packed texts. A window that is off by "
    "one goes unnoticed as long as the text is shorter than it.",
)
def seen(tokens, window):
    i, j = torch.arange(tokens)[:, None], torch.arange(tokens)
    return (j <= i) & (i - j < window)


@cache
def _with_sink() -> tuple:
    q, k, v = _qkv()
    k, v = (one.repeat_interleave(HEADS // KEY_HEADS, dim=0) for one in (k, v))  # (H, T, ...)
    scores = (q @ k.transpose(-1, -2)).masked_fill(~_mask()[0], -math.inf)  # (H, T, T)
    return scores, WIDTH**-0.5, torch.tensor([0.9, -0.4, 1.6, 0.3, -1.2, 2.1]), v


def _sunk(scores, scale, sinks, v) -> torch.Tensor:
    q, k, values = _qkv()
    return core.attention(q[None], k[None], values[None], _mask(), sinks, scale)[0][0]  # (H, T, D')


@exercise(
    "02.3",
    "A place to look at nothing",
    difficulty=3,
    importance=5,
    minutes=10,
    probes=lambda: [_with_sink()],
    returns="(H, T, D), each query's weighted sum of values",
    truth=_sunk,
    hints=(
        "The sink is one more score at the end of each row, the same number for all queries of a head.",
        "torch.cat the scaled scores with the sinks, softmax over all of them, then drop the last column.",
        "The sink has no value: what went to it is lost to the sum, and the rows that are left sum to less than one.",
    ),
    mistakes={
        "without the sink, or with rows that are made to sum to one again": {
            "weights[..., :-1]": "scores.mul(scale).softmax(dim=-1)"
        },
        "when the sink is scaled like a score: it is learned as it stands": {
            "torch.cat((scores * scale, column), dim=-1)": "(torch.cat((scores, column), dim=-1) * scale)"
        },
        "without the scale": {"scores * scale": "scores"},
        "when the sink has a value, that of the first token: it has none": {
            "weights[..., :-1] @ v": "(weights[..., :-1] @ v + weights[..., -1:] * v[:, :1])"
        },
        "when the sink has a value, the mean of all values: it has none": {
            "weights[..., :-1] @ v": "(weights[..., :-1] @ v + weights[..., -1:] * v.mean(1, keepdim=True))"
        },
        "with the first head's sink in every head: each has its own": {"sinks[:, None, None]": "sinks[:1, None, None]"},
        "when the sink itself stands in the denominator, and not its exponential": {
            "torch.cat((scores * scale, column), dim=-1).softmax(dim=-1)": (
                "torch.cat(((scores * scale).exp(), column), dim=-1)\n"
                "    weights = weights / weights.sum(-1, keepdim=True)"
            )
        },
        "when the sink's column stands in front, and the last token's is dropped": {
            "(scores * scale, column)": "(column, scores * scale)"
        },
    },
    after="These are the lines of gpt-oss's own `sdpa`, and of `lmlab.parts.core.attention`. A head that finds "
    "nothing can say nothing.",
)
def attend(scores, scale, sinks, v):
    column = sinks[:, None, None].expand(len(scores), scores.shape[1], 1)  # (H, T, 1)
    weights = torch.cat((scores * scale, column), dim=-1).softmax(dim=-1)  # (H, T, T + 1)
    return weights[..., :-1] @ v  # (H, T, D)
