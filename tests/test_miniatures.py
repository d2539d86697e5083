"""The trained miniatures as shipped: transformers reads them alike, and none knows more than the corpus."""

import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM

import lmlab
from lmlab.families import MINIATURES
from lmlab.paths import data_path
from lmlab.sampling import Greedy
from lmlab.train.card import command
from lmlab.train.data import held_out
from lmlab.train.pretraining import above_floor
from lmlab.train.recipe import RECIPE, Recipe

PROMPT = "Once there was a girl called Mia who lived in Oakwood. Her best friend was a boy called Tom."
TOKENS_TRIED = 200_000  # of each


@pytest.fixture(scope="module", params=MINIATURES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name):
    return data_path("checkpoints", name)


@pytest.fixture(scope="module")
def model(name):
    return lmlab.load(name, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(name):
    return lmlab.tokenizer(name)


def test_transformers_has_the_same_logits_and_the_same_greedy_text(folder, model, tokenizer):
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[tokenizer.end, *tokenizer.encode(PROMPT)]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), theirs(ids, attention_mask=mask).logits, atol=1e-4, rtol=0)
    expected = theirs.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=60, eos_token_id=None, pad_token_id=tokenizer.pad
    )
    written = [int(step.token) for step in lmlab.generate(model, ids, max_new_tokens=60, sampler=Greedy())]
    assert written == expected[0, ids.shape[1] :].tolist()


def test_a_checkpoint_is_small_and_names_what_made_it(name, folder, model):
    mtp = sum(parameter.numel() for parameter in model.mtp.parameters())  # one more layer, where there is one
    assert sum(path.stat().st_size for path in folder.iterdir()) - 2 * mtp <= 4.6e6
    recipe = Recipe(**json.loads((folder / RECIPE).read_text(encoding="utf-8")))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert command(name, recipe) in card and f"{recipe.tokens:,} tokens" in card
    assert f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters" in card
    assert bool(model.config.mtp) == (name == "mini-deepseek-v3")


def test_none_beats_the_floor_and_the_card_says_how_far_above_it_lies(folder, model, tokenizer):
    """The floor is the true entropy: a model below it by more than sampling error has seen the texts, or the
    probabilities are wrong."""
    held = held_out("general", tokenizer, TOKENS_TRIED // 150, 256)
    above, tokens = above_floor(model, held)  # (N,), (N,)
    assert tokens.sum() >= 0.95 * TOKENS_TRIED
    error = float(above.std() / len(above) ** 0.5)  # of the mean text
    assert float(above.mean()) > -3 * error
    said = float(re.search(r"distance all \| (\S+) ", (folder / "README.md").read_text(encoding="utf-8"))[1])
    assert abs(float(above.sum() / tokens.sum()) - said) < 4 * error / float(tokens.float().mean()) + 0.001


def test_the_vocabularies_are_one(tokenizer, model):
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.encode(PROMPT) == lmlab.tokenizer(MINIATURES[0]).encode(PROMPT)
    text = "Za\u017c\u00f3\u0142\u0107 \U0001f600 12345\n\ttabs"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_data_stays_small():
    files = [path for path in data_path().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 48 * 2**20
