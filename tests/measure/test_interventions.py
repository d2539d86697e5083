"""What a change does is what two models do, the untouched one and one that is changed by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F

import lmlab
from lmlab.measure import interventions
from tests.small import random_model

IDS = torch.randint(2, 1024, (37,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return random_model("mini-gpt-oss")


def alone(model):
    with torch.no_grad():
        logits = model(IDS[None])[0]
    return F.cross_entropy(logits[:-1], IDS[1:], reduction="none"), logits[-1].softmax(-1)


def test_both_sides_are_the_models_own(model):
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.layers[1].self_attn.o_proj.weight[:, 3 * 32 : 4 * 32] = 0
    found = interventions.effect(model, IDS, {"ablate_head": (1, 3)})
    for side, by_hand in enumerate((model, other)):
        losses, probabilities = alone(by_hand)
        torch.testing.assert_close(found.losses[side], losses, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.probabilities[side], probabilities, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(*found.losses, atol=1e-3)
    before, after = found.probabilities.double()
    assert found.kl == pytest.approx(float((before * (before / after).log()).sum()), rel=1e-6)


def test_no_change_changes_nothing(model):
    found = interventions.effect(model, IDS, {})
    assert torch.equal(*found.losses) and torch.equal(*found.probabilities) and found.kl == 0


@pytest.mark.parametrize(
    ("written", "agreeing"), [(([1, 2, 3], [1, 2, 4]), 2), (([1], [1, 5]), 1), (([], [5]), 0), (([4], [5]), 0)]
)
def test_texts_agree_up_to_the_first_difference(written, agreeing):
    assert interventions.agreeing(*written) == agreeing


def test_one_token_has_no_loss_and_still_a_next_one(model):
    found = interventions.effect(model, IDS[:1], {"remove_sinks": True})
    assert found.losses.shape == (2, 0) and found.probabilities.shape == (2, 1024)


def test_a_change_without_a_place_is_refused(model):
    with pytest.raises(ValueError, match="there is no head 9"):
        interventions.effect(model, IDS, {"ablate_head": (1, 9)})


@pytest.mark.parametrize(
    ("name", "sinks", "window", "experts"),
    [
        ("mini-gpt-oss", [0, 1, 2, 3], [0, 2], [0, 1, 2, 3]),
        ("mini-qwen3", [], [], []),
        ("mini-deepseek-v3", [], [], [1, 2, 3]),
    ],
)
def test_places(name, sinks, window, experts):
    found = interventions.places(lmlab.build(lmlab.config(name), device="meta"))
    assert found == {"heads": [0, 1, 2, 3], "sinks": sinks, "window": window, "experts": experts}
