"""Documents as rows of token ids: packed whole for training, one by one, with their floor, for evaluation."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from lmlab.text.corpus import Document, documents
from lmlab.text.tokenizer import Tokenizer
from lmlab.train.recipe import Recipe, is_own_text

IGNORED = -100  # a target that no loss counts
POOL = 512  # documents among which the next one of a row is looked for


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


def own_text(path: str, tokenizer: Tokenizer, length: int) -> tuple[list[int], list[int]]:
    """The token ids of a reader's own file: the first nine tenths to train on, the last tenth to try the model on.
    ValueError for a file of too few tokens."""
    ids = tokenizer.encode(Path(path).read_text(encoding="utf-8"))
    cut = len(ids) - max(len(ids) // 10, length)
    if cut < 2 * length:
        raise ValueError(f"{path} holds {len(ids)} tokens: rows of {length} need at least {3 * length} of them")
    return ids[:cut], ids[cut:]


def pieces(ids: list[int], length: int, seed: int) -> Iterator[list[int]]:
    """Pieces of `length` ids without end: the text cut anew for each pass, the pieces in random order."""
    rng = random.Random(seed)
    while True:
        starts = [*range(rng.randrange(length), len(ids) - length + 1, length)]
        yield from (ids[start : start + length] for start in rng.sample(starts, len(starts)))


def _rows(mixture: str, tokenizer: Tokenizer, length: int, seed: int) -> Iterator[list[int]]:
    if is_own_text(mixture):
        lists = pieces(own_text(mixture, tokenizer, length)[0], length, seed)
    else:
        lists = token_lists(documents(mixture, seed), tokenizer, length)
    return packed(lists, length, tokenizer.end, tokenizer.pad)


def batches(recipe: Recipe, tokenizer: Tokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, targets) of every step, each (B, T); the same ones for the same recipe."""
    for mixture, steps in recipe.stages:
        rows = _rows(mixture, tokenizer, recipe.length, recipe.seed)
        for _ in range(steps):
            block = torch.tensor(list(islice(rows, recipe.batch_size)))  # (B, T + 1)
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

    Of a reader's own text, pieces of its last tenth as the domain "text". Nobody knows their floor: 0 stands for it,
    and the distance to it is the loss.
    """
    if is_own_text(mixture):
        _, ids = own_text(mixture, tokenizer, length)
        starts = range(0, len(ids) - length + 1, length)
        texts = ((ids[start : start + length], "text", 0.0) for start in starts)
    else:
        found = documents(mixture, seed=-1)
        texts = (([*tokenizer.encode(one.text), tokenizer.end], one.domain, -one.logprob) for one in found)
    fitting = islice((text for text in texts if len(text[0]) <= length), number)
    lists, domains, floors = zip(*fitting, strict=True)
    rows = [[tokenizer.end, *ids] + [tokenizer.pad] * (length - len(ids)) for ids in lists]
    block = torch.tensor(rows)  # (N, T + 1)
    targets = block[:, 1:]
    return HeldOut(block[:, :-1], targets.masked_fill(targets == tokenizer.pad, IGNORED), domains, torch.tensor(floors))
