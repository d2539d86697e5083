"""A survey holds held-out texts, equally many tokens of each domain; loads and bits are counted by hand beside it."""

import math
from itertools import islice

import pytest
import torch

from lmlab.measure import routing, specialisation
from lmlab.parts.router import Routing
from lmlab.text.corpus import documents
from lmlab.text.pieces import piece
from tests.small import random_model
from tests.text.test_tokenizer import TOKENIZER

TOKENS = 150


@pytest.fixture(scope="module")
def model():
    return random_model("mini-deepseek-v3")


@pytest.fixture(scope="module")
def found(model):
    return specialisation.survey(model, TOKENIZER, TOKENS)


def test_texts_are_held_out_and_equal_in_tokens(model, found):
    starts = {}
    for document in islice(documents("general", -1), 60):
        starts.setdefault(document.domain, [TOKENIZER.end, *TOKENIZER.encode(document.text)])
    for domain in set(found.domains):
        of = [i for i, one in enumerate(found.domains) if one == domain]
        mine = torch.isin(found.texts, torch.tensor(of))
        assert int(mine.sum()) == TOKENS
        first = found.ids[found.texts == of[0]].tolist()
        assert first == starts[domain][: len(first)] and len(first) <= 256
    assert set(found.domains) == set(starts) and set(found.layers) == set(routing.mixtures(model))


def test_padding_is_read_by_no_expert_and_each_text_as_if_alone(model, found):
    for text in (0, len(found.domains) - 1):
        mine = found.texts == text
        alone = routing.read(model, found.ids[mine].tolist())
        for layer, one in alone.layers.items():
            torch.testing.assert_close(found.layers[layer].scores[mine], one.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("by", ["domain", "class"])
def test_loads_are_counted(found, by):
    layer = [*found.layers][1]
    table, one = specialisation.loads(found, layer, by), found.layers[layer]
    names = [found.domains[i] for i in found.texts.tolist()]
    if by == "class":
        names = [specialisation.token_class(piece(TOKENIZER, i)) for i in found.ids.tolist()]
    assert set(table.index) == set(names)
    for name in table.index:
        rows = [row for row, its in zip(one.indices.tolist(), names, strict=True) if its == name]
        times = [sum(e in row for row in rows) for e in range(8)]
        assert table.loc[name].tolist() == pytest.approx([8 * n / (2 * len(rows)) for n in times])


def test_bits_are_those_of_the_pairs(found):
    layer = next(iter(found.layers))
    pairs = [
        (e, found.domains[text])
        for row, text in zip(found.layers[layer].indices.tolist(), found.texts.tolist(), strict=True)
        for e in row
    ]
    share = lambda key: sum(key(pair) for pair in pairs) / len(pairs)  # noqa: E731
    wanted = 0.0
    for e, domain in set(pairs):
        joint = share(lambda p, e=e, d=domain: p == (e, d))
        alone = share(lambda p, e=e: p[0] == e) * share(lambda p, d=domain: p[1] == d)
        wanted += joint * math.log2(joint / alone)
    told = specialisation.told(found, layer)
    assert told.bits == pytest.approx(wanted) and told.possible == pytest.approx(math.log2(5))
    assert 0 < told.chance < math.log2(5)


def test_who_knows_all_tells_all_and_who_draws_tells_nothing():
    assert specialisation.mutual_information(3 * torch.eye(4)) == pytest.approx(2)
    assert specialisation.mutual_information(torch.ones(4, 8)) == pytest.approx(0, abs=1e-12)
    assert specialisation.entropy(torch.tensor([1, 1, 2])) == pytest.approx(1.5)


def told_when(rows_of, texts_of_a_domain, by="domain"):
    """`told` of a survey whose text i, of domain i % 2, is read as rows_of(i) says."""
    number, length = 2 * texts_of_a_domain, 10
    indices = torch.tensor([rows_of(i) for i in range(number) for _ in range(length)])  # (N, A)
    scores = torch.full((len(indices), 4), 0.25)
    made = specialisation.Survey(
        tokenizer=TOKENIZER,
        ids=torch.tensor([40 + i % 9 for i in range(len(indices))]),
        texts=torch.arange(number).repeat_interleave(length),
        domains=tuple(["story", "code"][i % 2] for i in range(number)),
        layers={0: Routing(scores, scores, indices, indices)},
    )
    return specialisation.told(made, 0, by)


def test_chance_is_what_shuffled_labels_give():
    sharp = told_when(lambda i: [2 * (i % 2), 2 * (i % 2) + 1], 60)
    assert sharp.bits == pytest.approx(1) and sharp.possible == 1 and sharp.chance < 0.05
    # experts that go by the text, not by its domain: with few texts chance alone looks like knowledge
    loose = told_when(lambda i: [i // 2 % 4, (i // 2 + 1) % 4], 4)
    assert loose.bits == pytest.approx(0, abs=1e-9) and loose.chance > 0.02


def test_classes_of_tokens():
    kinds = {
        "a word": ["\u00b7red", "Once", "\u00b7Mia", "\u00b7a"],
        "the rest of a word": ["ing", "a"],
        "a digit": ["7", "\u00b77"],
        "a sign": [".", "\u00b7=", "(", "],", "\u00b7<", "<="],
        "a blank or line's end": ["\u00b7", "\u00b7\u00b7\u00b7", "\u21b5"],
        "other": ["<F0 9F>", "<|endoftext|>", "a1"],
    }
    assert tuple(kinds) == specialisation.CLASSES
    for name, every in kinds.items():
        assert {specialisation.token_class(one) for one in every} == {name}


def test_what_there_is_not_is_refused(found):
    with pytest.raises(ValueError, match="by='token' is not one of domain, class"):
        specialisation.loads(found, 1, "token")
    with pytest.raises(ValueError, match="no layer with experts"):
        specialisation.survey(random_model("mini-qwen3"), TOKENIZER, 10)
