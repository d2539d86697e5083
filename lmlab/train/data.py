"""Documents as rows of token ids: packed whole for training, one by one, with their floor, for evaluation."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import torch

from lmlab.text.corpus import Document, documents
from lmlab.text.tokenizer import Tokenizer, train
from lmlab.train.recipe import Recipe, is_own_text

IGNORED = -100  # a target that no loss counts
POOL = 512  # documents among which the next one of a row is looked for


def corpus_tokenizer() -> Tokenizer:
    """Trained on the first texts of the corpus: the same one every time."""
    return train(document.text for document in islice(documents("general", seed=0), 20_000))


def tokenizer_for(recipe: Recipe) -> Tokenizer:
    """The corpus's, or one trained on the reader's own text. It may have fewer tokens than the model has rows."""
    if not is_own_text(recipe.mixture):
        return corpus_tokenizer()
    with open(recipe.mixture, encoding="utf-8") as lines:
        return train(lines)


def token_lists(found: Iterable[Document], tokenizer: Tokenizer, length: int) -> Iterator[list[int]]:
    """The ids of each document with the end token, cut to `length`."""
    found = iter(found)
    while batch := list(islice(found, POOL)):
        for ids in tokenizer.encode_many([document.text for document in batch]):
            yield [*ids, tokenizer.end][:length]


def packed(lists: Iterable[list[int]], length: int, end: int, pad: int) -> Iterator[list[int]]:
    """Rows of `length` + 1 ids that begin with `end`, so that each document has one before and one behind it: the
    oldest of a pool, so that short kinds of text come in their turn, then the longest that still fits, until none does.
    No document is split over two rows; what is left of a row is padding."""
    lists, pool = iter(lists), []
    while True:
        pool += islice(lists, POOL - len(pool))
        if not pool:
            return
        row = [end, *pool.pop(0)]
        while fitting := [i for i, ids in enumerate(pool) if len(row) + len(ids) <= length + 1]:
            row += pool.pop(max(fitting, key=lambda i: len(pool[i])))
        yield row + [pad] * (length + 1 - len(row))


def own_texts(path: str, tokenizer: Tokenizer, length: int) -> tuple[list[list[int]], list[list[int]]]:
    """The token ids of a reader's own file, to train on and (the last tenth) to try the model on: its texts, where the
    end token stands between them; else pieces of `length`. ValueError for a file of too few tokens."""
    ids = tokenizer.encode(Path(path).read_text(encoding="utf-8"))
    if len(ids) < 3 * length:
        raise ValueError(f"{path} holds {len(ids)} tokens: rows of {length} need at least {3 * length} of them")
    ends = [i + 1 for i, token in enumerate(ids) if token == tokenizer.end]
    if ends:
        lists = [ids[start:end][:length] for start, end in pairwise([0, *ends])]
    else:
        lists = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
    cut = len(lists) - max(len(lists) // 10, 1)
    return lists[:cut], lists[cut:]


def in_random_order(lists: list[list[int]], seed: int) -> Iterator[list[int]]:
    """All of them, again and again, each time in another order."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(lists, len(lists))


def rows(mixture: str, tokenizer: Tokenizer, length: int, seed: int) -> Iterator[list[int]]:
    """Rows of `length` + 1 ids without end; the same ones for the same seed."""
    if is_own_text(mixture):
        lists = in_random_order(own_texts(mixture, tokenizer, length)[0], seed)
    else:
        lists = token_lists(documents(mixture, seed), tokenizer, length)
    return packed(lists, length, tokenizer.end, tokenizer.pad)


def batches(recipe: Recipe, tokenizer: Tokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, targets) of every step, each (B, T); the same ones for the same recipe."""
    stages = recipe.stages
    sources = [rows(stage.mixture, tokenizer, stage.length, recipe.seed) for stage in stages]
    for number in recipe.order:
        batch_size = recipe.batch_size * recipe.length // stages[number].length
        block = torch.tensor(list(islice(sources[number], batch_size)))  # (B, T + 1)
        ids, targets = block[:, :-1], block[:, 1:]
        yield ids, targets.masked_fill(targets == tokenizer.pad, IGNORED)


@dataclass(frozen=True)
class HeldOut:
    """Documents that no training seed writes, one to a row: ids and targets (N, T), each one's domain and floor."""

    ids: torch.Tensor
    targets: torch.Tensor
    domains: tuple[str, ...]
    floors: torch.Tensor  # (N,): -log p of each text, nats


def held_out(mixture: str, tokenizer: Tokenizer, number: int, length: int) -> HeldOut:
    """`number` documents of a mixture that fit into `length` tokens; the domain's choice is part of the floor.

    Of a reader's own file, what `own_texts` keeps out, as the domain "text". Nobody knows their floor: 0 stands for it,
    and the distance to it is the loss.
    """
    if is_own_text(mixture):
        texts = ((ids, "text", 0.0) for ids in own_texts(mixture, tokenizer, length)[1])
    else:
        found = documents(mixture, seed=-1)
        texts = (([*tokenizer.encode(one.text), tokenizer.end], one.domain, -one.logprob) for one in found)
    fitting = islice((text for text in texts if len(text[0]) <= length), number)
    lists, domains, floors = zip(*fitting, strict=True)
    padded = [[tokenizer.end, *ids] + [tokenizer.pad] * (length - len(ids)) for ids in lists]
    block = torch.tensor(padded)  # (N, T + 1)
    targets = block[:, 1:]
    return HeldOut(block[:, :-1], targets.masked_fill(targets == tokenizer.pad, IGNORED), domains, torch.tensor(floors))
