"""Models small enough to be read anew after each move of the generation view, and their tokenizer."""

from itertools import islice

import pytest
import torch

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import train
from tests.small import random_model


@pytest.fixture(scope="module")
def tokenizer():
    return train(document.text for document in islice(documents("general", 0), 200))


@pytest.fixture(scope="module")
def models():
    found = {name: random_model(name) for name in ("mini-gpt-oss", "mini-deepseek-v3")}
    with torch.no_grad():  # weak opinions, so that some drafts are accepted
        found["mini-deepseek-v3"].lm_head.weight.mul_(0.3)
    return found


@pytest.fixture
def loaded(models, tokenizer, monkeypatch):
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (models[name], tokenizer))
    return [*models]
