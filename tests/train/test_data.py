"""Rows hold whole documents, nearly without padding; held-out texts carry their floor."""

import collections
import itertools

import pytest
import torch

from lmlab.text.corpus import documents, mixture
from lmlab.text.tokenizer import train
from lmlab.train.data import IGNORED, batches, held_out, own_text, packed, token_lists
from lmlab.train.recipe import Recipe

TEXTS = [document.text for document in itertools.islice(documents("general", 0), 500)]
TOKENIZER = train(TEXTS, vocab_size=512)
LENGTH = 300


def test_rows_hold_whole_documents_and_little_padding():
    lists = list(itertools.islice(token_lists(documents("general", 1), TOKENIZER, LENGTH), 1024))
    rows = list(packed(iter(lists), LENGTH, TOKENIZER.end, TOKENIZER.pad))
    assert all(len(row) == LENGTH + 1 for row in rows)
    again = []
    for row in rows:
        assert row[0] == TOKENIZER.end, "each document has an end token before it"
        text = [token for token in row[1:] if token != TOKENIZER.pad]
        assert text[-1] == TOKENIZER.end or len(text) == LENGTH
        found, at = [], 0
        while TOKENIZER.end in text[at:]:
            to = text.index(TOKENIZER.end, at) + 1
            found.append(text[at:to])
            at = to
        again += found + ([text[at:]] if at < len(text) else [])
    assert sorted(again) == sorted(lists), "every document once, none split"
    early = rows[: len(rows) // 3]  # while the pool is full
    assert sum(len(row) - row.count(TOKENIZER.pad) for row in early) / sum(map(len, early)) > 0.95


def test_the_first_rows_hold_each_kind_of_text_in_its_share():
    """A run of seconds reads no more than the first pool: it must not be the longest texts alone."""
    found = list(itertools.islice(documents("general", 2), 2000))
    lists = list(token_lists(found, TOKENIZER, LENGTH))
    domains = {tuple(ids): document.domain for ids, document in zip(lists, found, strict=True)}
    tokens = {"early": collections.Counter(), "all": collections.Counter()}
    for ids in lists:
        tokens["all"][domains[tuple(ids)]] += len(ids)
    for row in itertools.islice(packed(iter(lists), LENGTH, TOKENIZER.end, TOKENIZER.pad), 100):
        for ids in split(row[1:]):
            tokens["early"][domains.get(tuple(ids), "")] += len(ids)
    for domain, number in tokens["all"].items():
        share, early = number / tokens["all"].total(), tokens["early"][domain] / tokens["early"].total()
        assert 0.4 * share < early < 2.5 * share, (domain, share, early)


def split(row):
    """The documents of a row, with their end tokens."""
    found = [[]]
    for token in row:
        found[-1].append(token)
        if token == TOKENIZER.end:
            found.append([])
    return [ids for ids in found if ids and ids[-1] == TOKENIZER.end]


def recipe(mixture="general", steps=3, seed=3):
    return Recipe(tokens=steps * 4 * 64, batch_size=4, length=64, mixture=mixture, seed=seed)


def test_batches_are_shifted_and_repeatable():
    first, second = (next(batches(recipe(), TOKENIZER)) for _ in range(2))
    other = next(batches(recipe(seed=4), TOKENIZER))
    (ids, targets) = first
    assert ids.shape == targets.shape == (4, 64)
    assert torch.equal(ids, second[0]) and torch.equal(targets, second[1]) and not torch.equal(ids, other[0])
    real = targets[:, :-1] != IGNORED
    assert torch.equal(targets[:, :-1][real], ids[:, 1:][real])
    assert not (targets == TOKENIZER.pad).any()


def test_stages_follow_one_another():
    staged = recipe("general:0.5 reasoning:0.3 long:0.2", steps=10)
    assert staged.stages == [("general", 5), ("reasoning", 3), ("long", 2)]
    found = [ids for ids, _ in batches(staged, TOKENIZER)]
    assert len(found) == 10
    for at, stage in ((0, "general"), (5, "reasoning"), (8, "long")):
        alone, _ = next(batches(recipe(stage), TOKENIZER))
        assert torch.equal(found[at], alone)


def test_the_flat_mixture_is_the_three_stages_in_one():
    shares = dict.fromkeys(mixture("flat"), 0.0)
    for stage, share in (("general", 0.6), ("reasoning", 0.3), ("long", 0.1)):
        for domain, part in mixture(stage).items():
            shares[domain] += share * part
    assert shares == pytest.approx(mixture("flat"))


@pytest.mark.parametrize(
    ("name", "says"), [("general:0.5 long:0.2", "add up to something else than 1"), ("general:x", "is no number")]
)
def test_stages_that_cannot_be_followed(name, says):
    with pytest.raises(ValueError, match=says):
        recipe(name)


def test_a_text_of_ones_own(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n".join(TEXTS[:60]), encoding="utf-8")
    ids = TOKENIZER.encode(path.read_text(encoding="utf-8"))
    train_on, try_on = own_text(str(path), TOKENIZER, 64)
    assert train_on + try_on == ids and len(try_on) >= 64
    text = " ".join(map(str, train_on))
    for rows, targets in batches(recipe(str(path), steps=5), TOKENIZER):
        assert (rows[:, 0] == TOKENIZER.end).all() and (targets != IGNORED).all()
        assert all(" ".join(map(str, row)) in text for row in targets.tolist()), "pieces of the first nine tenths"
    held = held_out(str(path), TOKENIZER, 3, 64)
    assert set(held.domains) == {"text"} and not held.floors.any()
    assert held.targets[0].tolist() == try_on[:64]
    path.write_text("too short", encoding="utf-8")
    with pytest.raises(ValueError, match="rows of 64 need at least 192"):
        next(batches(recipe(str(path)), TOKENIZER))


def test_held_out_texts_are_not_trained_on_and_know_their_floor():
    held = held_out("general", TOKENIZER, 50, LENGTH)
    assert held.ids.shape == held.targets.shape == (50, LENGTH) and len(held.domains) == 50
    assert (held.ids[:, 0] == TOKENIZER.end).all(), "the first token is predicted, too"
    texts = [document.text for document in itertools.islice(documents("general", 0), 3000)]
    source = {document.text: document for document in itertools.islice(documents("general", -1), 200)}
    for row, targets, domain, floor in zip(held.ids, held.targets, held.domains, held.floors, strict=True):
        kept = targets[targets != IGNORED].tolist()
        text = TOKENIZER.decode(kept[:-1])
        assert kept[-1] == TOKENIZER.end and row[1 : len(kept)].tolist() == kept[:-1]
        assert text not in texts and source[text].domain == domain
        assert abs(float(floor) + source[text].logprob) < 1e-4
