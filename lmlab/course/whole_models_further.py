"""Lesson 08, whole models: the exercises under "Going further"."""

from functools import cache

import lmlab.families
from lmlab.course.exercises import exercise
from lmlab.measure import cost, memory, sizes


@exercise(
    "08.4",
    "Experts that a step reads",
    difficulty=3,
    importance=4,
    minutes=8,
    returns="a number of experts, on average",
    probes=lambda: [(128, 4, 32), (256, 8, 5), (128, 8, 1), (6, 4, 3)],
    truth=cost.touched,
    hints=(
        "What is the chance that one token does not choose a certain expert?",
        "That none of `tokens` tokens chooses it: that chance to the power of tokens, if they choose independently.",
        "All experts are alike: the number that is chosen by some token is experts times the chance of one.",
    ),
    mistakes={
        "when no two tokens choose the same expert": {
            "experts * (1 - (1 - chosen / experts) ** tokens)": "chosen * tokens"
        },
        "when a token may choose an expert twice: its choices differ": {
            "(1 - chosen / experts) ** tokens": "(1 - 1 / experts) ** (chosen * tokens)"
        },
        "for the experts that nobody chooses": {
            "(1 - (1 - chosen / experts) ** tokens)": "(1 - chosen / experts) ** tokens"
        },
        "as a share, not as a number of experts": {"experts * (1 - (1": "(1 - (1"},
        "when a single expert is chosen by each token": {"chosen / experts": "1 / experts"},
    },
    after="82 of 128 for 32 tokens and 4 experts each. Real tokens choose alike: fewer are read. The experts in memory "
    "stay 128, and the arithmetic that of 4 for each token.",
)
def experts_read(experts, chosen, tokens):
    return experts * (1 - (1 - chosen / experts) ** tokens)


MODELS = ("qwen3-30b-a3b", "qwen3-235b-a22b", "deepseek-v3")


@cache
def _fitting() -> dict[tuple, int]:
    """The arguments of 08.5 -> the longest text, as measure has it."""
    found = {}
    for name, held, batch in zip(MODELS, (86, 684, 1206), (1, 3, 16), strict=True):
        config = lmlab.families.config(name)
        total, active, per_token = sizes.total(config), sizes.active(config), memory.cache_bytes(config, 1)
        weights = memory.weight_bytes(config)
        found[held * 10**9 + weights // 2, total, active, per_token, batch] = memory.longest_text(
            config, held * 10**9 + weights // 2 - weights, batch
        )
    return found


@exercise(
    "08.5",
    "The longest text that fits",
    difficulty=2,
    importance=4,
    minutes=8,
    returns="a whole number of tokens",
    probes=lambda: [*_fitting()],
    truth=lambda *arguments: _fitting()[arguments],
    tolerance=0,
    rounding=0,
    hints=(
        "Which parameters must lie in memory: all, or those that one token uses?",
        "bf16 takes 2 bytes for each parameter. What remains is for the cache.",
        "Each of `batch` texts needs per_token bytes for each of its tokens; whole tokens are asked for.",
    ),
    mistakes={
        "with the active parameters in place of all: every expert lies in memory, whichever is chosen": {
            "2 * total": "2 * active"
        },
        "with a byte for each parameter: bf16 takes two": {"2 * total": "total"},
        "without the weights": {"(memory - 2 * total)": "memory"},
        "for a single text": {"(batch * per_token)": "per_token"},
        "not rounded down to whole tokens": {"// (batch * per_token)": "/ (batch * per_token)"},
        "for all texts together": {"(batch * per_token)": "(batch * per_token) * batch"},
    },
    after="What the memory holds is not what a model was trained to read: `max_position_embeddings` is the other "
    "limit, and for Qwen3 it is 40,960 tokens, 131,072 with YaRN.",
)
def longest_text(memory, total, active, per_token, batch):
    return (memory - 2 * total) // (batch * per_token)
