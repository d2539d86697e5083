"""Lesson 01, tokens and the residual stream: the exercises under "Going further"."""

import itertools
from collections import Counter
from functools import cache

import torch

import lmlab.families
from lmlab.course.exercises import exercise
from lmlab.course.residual import model, read
from lmlab.measure import residual, sizes
from lmlab.text import tokenizer

MODELS = ("qwen3-0.6b", "gpt-oss-20b", "deepseek-v3", "qwen3-8b")


@cache
def _shares() -> dict[tuple, float]:
    """The arguments of exercise 01.4, from published configurations -> the share."""
    configs = {name: lmlab.families.config(name) for name in MODELS}
    shares = residual.vocabulary(configs)
    return {
        (
            config.vocab_size,
            config.hidden_size,
            config.tie_word_embeddings,
            sizes.total(config) - shares.parameters[name].item(),
        ): shares.share[name].item()
        for name, config in configs.items()
    }


@exercise(
    "01.4",
    "What the vocabulary costs",
    difficulty=1,
    importance=3,
    minutes=5,
    returns="a number from 0 to 1",
    tolerance=1e-6,
    probes=lambda: [*_shares()],
    truth=lambda *arguments: _shares()[arguments],
    hints=(
        "The embedding has a row of hidden_size numbers for each token; so has the head.",
        "Tied means that both are one and the same matrix.",
        "The whole is everything: the other parameters and the one matrix, or the two.",
    ),
    mistakes={
        "when a tied matrix is counted twice": {"(1 if tied else 2)": "2"},
        "when the head is forgotten where it is a matrix of its own": {"(1 if tied else 2)": "1"},
        "with tied and untied exchanged": {"1 if tied else 2": "2 if tied else 1"},
        "when it is set against the other parameters, not against all": {"(tables + others)": "others"},
        "when the whole is counted without the head": {"(tables + others)": "(rows * hidden_size + others)"},
        "in percent": {"return tables": "return 100 * tables"},
    },
    after="The vocabulary hardly grows with the model, so that it weighs most in small ones: those tie. Where Qwen3 "
    "stops tying, between 4B and 8B, the share goes up once more.",
)
def vocabulary_share(rows, hidden_size, tied, others):
    tables = rows * hidden_size * (1 if tied else 2)
    return tables / (tables + others)


def _words(*words: str) -> torch.Tensor:
    """Letters a, b, c, ... as 0, 1, 2, ..., padded at the right with -1."""
    longest = max(map(len, words))
    return torch.tensor([[ord(letter) - ord("a") for letter in word] + [-1] * (longest - len(word)) for word in words])


def _trained(words: torch.Tensor, counts: torch.Tensor) -> list[int]:
    """The first merge of the tokenizer that the library trains on these words."""
    texts = [
        "".join(chr(ord("a") + letter) for letter in word if letter >= 0)
        for word, count in zip(words.tolist(), counts.tolist(), strict=True)
        for _ in range(count)
    ]
    trained = tokenizer.train(texts, vocab_size=len(tokenizer.SPECIAL) + 256 + 1)
    return [ord(letter) - ord("a") for letter in trained.token(len(trained) - 1)]


@exercise(
    "01.5",
    "The next merge",
    difficulty=3,
    importance=3,
    minutes=12,
    returns="two ids, the pair that is merged next",
    probes=lambda: [
        (_words("daccdd", "abdc", "ddcbb", "cc"), torch.tensor([5, 2, 4, 3])),
        (_words("abd", "cbb", "bbdd", "caaac"), torch.tensor([3, 3, 3, 5])),
    ],
    truth=_trained,
    hints=(
        "Count every pair of neighbours within a word; a word that occurs five times counts five times.",
        "-1 fills up the shorter words: it is no letter. No pair reaches from one word into the next.",
        "`itertools.pairwise(word)` gives the neighbours, `collections.Counter` counts them.",
    ),
    mistakes={
        "when each word counts once, however often it occurs": {"+= count": "+= 1"},
        "when the padding is taken for a letter": {"[letter for letter in word if letter >= 0]": "word"},
        "when (a, b) and (b, a) count as one pair: order matters": {"found[pair]": "found[tuple(sorted(pair))]"},
        "when any two letters of a word are paired, not only neighbours": {
            "itertools.pairwise(letters)": "itertools.combinations(letters, 2)"
        },
        "when a pair counts once in a word, though it stands there twice": {
            "itertools.pairwise(letters)": "set(itertools.pairwise(letters))"
        },
        "with the rarest pair: the most frequent one is merged": {"max(": "min("},
    },
    after="Repeat it, each time with the new pair as one letter more, and you have trained the tokenizer: 1,024 tokens "
    "less the 256 bytes and the special tokens are that many merges.",
)
def next_merge(words, counts):
    found = Counter()
    for word, count in zip(words.tolist(), counts.tolist(), strict=True):
        letters = [letter for letter in word if letter >= 0]
        for pair in itertools.pairwise(letters):
            found[pair] += count
    return max(found, key=found.get)


def _votes(token: int, answer: int) -> tuple:
    rows = model().lm_head.weight
    return read().added[:, token], model().norm.weight, model().config.norm.eps, rows[answer] - rows.mean(0)


def _true_votes(added: torch.Tensor, weight, eps, row: torch.Tensor) -> torch.Tensor:
    rows = model().lm_head.weight
    answer = int((rows - rows.mean(0) - row).norm(dim=-1).argmin())
    token = int((read().added - added[:, None]).flatten(2).norm(dim=(0, 2)).argmin())
    return residual.votes(model(), read(), torch.full_like(read().ids, answer))[:, token]


@exercise(
    "01.6",
    "Who wrote the answer?",
    difficulty=3,
    importance=4,
    minutes=10,
    returns="(P,), what each part adds to the answer's logit",
    probes=lambda: [_votes(1, 17), _votes(5, 4)],
    truth=_true_votes,
    hints=(
        "The last state is the sum of all parts: added.sum(dim=0).",
        "The final norm divides that sum by one number, and so it divides every part of it by the same number.",
        "Then each part, times the weight, meets the row: (added / size * weight) @ row.",
    ),
    mistakes={
        "when each part is divided by its own size: the norm sees their sum": {
            "(final.square().mean() + eps).sqrt()": "(added.square().mean(dim=-1, keepdim=True) + eps).sqrt()"
        },
        "without the final norm": {"(added / size * weight)": "added"},
        "when the norm's division is forgotten": {"added / size * weight": "added * weight"},
        "when the norm's weight is forgotten": {" * weight": ""},
        "when the last part is taken for the last state": {"added.sum(dim=0)": "added[-1]"},
        "when the parts are averaged: the stream is their sum": {"added.sum(dim=0)": "added.mean(dim=0)"},
        "for the state after each part: that is the lens; here each part stands by itself": {
            "(added / size": "(added.cumsum(dim=0) / size"
        },
    },
    after="The votes sum to the answer's logit, above the mean of all logits. `lmlab.measure.residual.votes` draws "
    'them in the view: under "More", the lowest bars.',
)
def votes(added, weight, eps, row):
    final = added.sum(dim=0)  # (C,)
    size = (final.square().mean() + eps).sqrt()
    return (added / size * weight) @ row  # (P,)
