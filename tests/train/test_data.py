"""Rows hold whole documents, nearly without padding; held-out texts carry their floor."""

import collections
import dataclasses
import itertools

import pytest
import torch

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import END, train
from lmlab.train.data import IGNORED, batches, held_out, own_texts, packed, token_lists
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
    staged = recipe("general:0.5 reasoning:0.3 long:0.2@128", steps=10)
    assert [stage.mixture for stage in staged.stages] == ["general", "reasoning", "long"]
    assert staged.order == [0] * 5 + [1] * 3 + [2] * 2
    found = [ids for ids, _ in batches(staged, TOKENIZER)]
    assert [tuple(ids.shape) for ids in found] == [(4, 64)] * 8 + [(2, 128)] * 2, "as many tokens a step"
    for at, stage in ((0, "general"), (5, "reasoning")):
        alone, _ = next(batches(recipe(stage), TOKENIZER))
        assert torch.equal(found[at], alone)


def test_shuffled_stages_are_the_same_steps_in_another_order():
    staged = recipe("general:0.5 reasoning:0.3 long:0.2@128", steps=10)
    shuffled = dataclasses.replace(staged, shuffled=True)
    assert shuffled.order != staged.order
    steps = [[ids.tolist() for ids, _ in batches(one, TOKENIZER)] for one in (staged, shuffled)]
    assert sorted(steps[0]) == sorted(steps[1]) and steps[0] != steps[1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("general:0.5 long:0.2", "add up to something else than 1"),
        ("general:x", "write general, or"),
        ("general:0.5 long:0.5@100", "no whole rows of 100"),
    ],
)
def test_stages_that_cannot_be_followed(name, says):
    with pytest.raises(ValueError, match=says):
        recipe(name)


def test_a_text_of_ones_own_in_pieces(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n".join(TEXTS[:60]), encoding="utf-8")
    ids = TOKENIZER.encode(path.read_text(encoding="utf-8"))
    train_on, try_on = own_texts(str(path), TOKENIZER, 64)
    assert [token for piece in train_on + try_on for token in piece] == ids[: len(ids) // 64 * 64]
    assert len(try_on) == len(ids) // 64 // 10
    for rows, targets in batches(recipe(str(path), steps=5), TOKENIZER):
        assert (rows[:, 0] == TOKENIZER.end).all() and (targets != IGNORED).all()
        assert all(row in train_on for row in targets.tolist())
    held = held_out(str(path), TOKENIZER, 3, 64)
    assert set(held.domains) == {"text"} and not held.floors.any()
    assert held.targets.tolist() == try_on[:3]
    path.write_text("too short", encoding="utf-8")
    with pytest.raises(ValueError, match="rows of 64 need at least 192"):
        next(batches(recipe(str(path)), TOKENIZER))


def test_texts_set_apart_by_the_end_token_stay_whole(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text(END.join([*TEXTS[:200], ""]), encoding="utf-8")
    train_on, try_on = own_texts(str(path), TOKENIZER, LENGTH)
    whole = [[*TOKENIZER.encode(text), TOKENIZER.end][:LENGTH] for text in TEXTS[:200]]
    assert train_on + try_on == whole and len(try_on) == 20
    ids, _ = next(batches(Recipe(tokens=4 * LENGTH, batch_size=4, length=LENGTH, mixture=str(path)), TOKENIZER))
    begins = [document[:9] for document in train_on]
    for row in ids.tolist():
        for at, token in enumerate(row[:-10]):
            assert token != TOKENIZER.end or row[at + 1 : at + 10] in begins or row[at + 1] == TOKENIZER.pad


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
