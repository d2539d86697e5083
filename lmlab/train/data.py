"""Documents as rows of token ids: packed whole for training, one by one, with their floor, for evaluation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from lmlab.text.corpus import Document, documents
from lmlab.text.tokenizer import Tokenizer

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


def batches(
    mixture: str, tokenizer: Tokenizer, batch_size: int, length: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, targets), each (B, T), without end; the same ones for the same seed."""
    rows = packed(token_lists(documents(mixture, seed), tokenizer, length), length, tokenizer.end, tokenizer.pad)
    while True:
        block = torch.tensor(list(islice(rows, batch_size)))  # (B, T + 1)
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
    """`number` documents of a mixture that fit into `length` tokens; the domain's choice is part of the floor."""
    rows, domains, floors = [], [], []
    for document in documents(mixture, seed=-1):
        ids = [tokenizer.end, *tokenizer.encode(document.text), tokenizer.end]
        if len(ids) > length + 1:
            continue
        rows.append(ids + [tokenizer.pad] * (length + 1 - len(ids)))
        domains.append(document.domain)
        floors.append(-document.logprob)
        if len(rows) == number:
            break
    block = torch.tensor(rows)
    targets = block[:, 1:]
    return HeldOut(
        block[:, :-1], targets.masked_fill(targets == tokenizer.pad, IGNORED), tuple(domains), torch.tensor(floors)
    )
