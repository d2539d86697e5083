"""Windows, sinks and QK-Norm changed: the loss is that of a model built so, and the model is as before."""

import pytest
import torch
import torch.nn.functional as F

from lmlab.interventions import intervene
from lmlab.measure import attention
from lmlab.measure.attention_changes import largest_scores, loss, windowed, with_sinks_raised
from tests.small import random_model

TEXTS = [torch.randint(0, 97, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (19, 12)]
INF = float("inf")


@torch.no_grad()
def by_hand(model) -> float:
    """Sum over all predicted tokens, then the mean: 18 of the first text, 11 of the second."""
    total = 0.0
    for ids in TEXTS:
        logits = model(torch.tensor([ids]))[0]
        total += sum(float(F.cross_entropy(logits[i], torch.tensor(ids[i + 1]))) for i in range(len(ids) - 1))
    return total / 29


def test_loss_is_the_mean_over_all_predicted_tokens():
    model = random_model("qwen3-0.6b")
    assert loss(model, TEXTS) == pytest.approx(by_hand(model), rel=1e-5)


def test_a_window_is_that_of_every_layer():
    model = random_model("gpt-oss-20b")
    table = windowed(model, TEXTS, [40, 11, 3])
    assert list(table.index) == ["as it is", "40", "11", "3"]
    assert table["as it is"] == pytest.approx(by_hand(model), rel=1e-5)
    for block in model.layers:
        object.__setattr__(block.self_attn.config, "sliding_window", 3)
    assert table["3"] == pytest.approx(by_hand(model), rel=1e-5)
    assert table.nunique() == 4, "window 40 is wider than the texts, and layers of this model slide"


def test_raised_sinks_take_weight_and_are_put_back():
    model = random_model("gpt-oss-20b")
    before = [block.self_attn.sinks.detach().clone() for block in model.layers]
    table = with_sinks_raised(model, TEXTS, [-INF, 0.0, 2.0])
    assert all(torch.equal(block.self_attn.sinks, old) for block, old in zip(model.layers, before, strict=True))
    assert table.kept[-INF] == pytest.approx(1) and 1 > table.kept[0.0] > table.kept[2.0] > 0
    assert table.kept[0.0] == pytest.approx(float(attention.read(model, TEXTS[0]).weights.sum(-1).mean()), rel=1e-5)
    assert table.loss[0.0] == pytest.approx(by_hand(model), rel=1e-5)
    with intervene(model, remove_sinks=True):
        assert table.loss[-INF] == pytest.approx(by_hand(model), rel=1e-5)
    for block in model.layers:
        block.self_attn.sinks.data += 2
    assert table.loss[2.0] == pytest.approx(by_hand(model), rel=1e-5)
    with pytest.raises(ValueError, match=r"layers without sinks: \[0, 1, 2\]"):
        with_sinks_raised(random_model("qwen3-0.6b"), TEXTS, [1.0])


def test_the_sinks_are_put_back_after_an_error(monkeypatch):
    model = random_model("gpt-oss-20b")
    before = [block.self_attn.sinks.detach().clone() for block in model.layers]
    monkeypatch.setattr("lmlab.measure.attention_changes.loss", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        with_sinks_raised(model, TEXTS, [3.0])
    assert all(torch.equal(block.self_attn.sinks, old) for block, old in zip(model.layers, before, strict=True))


def test_scores_with_the_norm_stay_within_what_it_allows():
    model = random_model("qwen3-0.6b")
    table = largest_scores(model, TEXTS[0])
    found = attention.read(model, TEXTS[0])
    for layer in range(3):
        seen = found.visible[layer]
        assert table["with it"][layer] == pytest.approx(float(found.scores[layer][:, seen].abs().max()), rel=1e-5)
        before = found.parts["before QK-Norm"][layer][:, seen].abs().max()
        assert table["without the norm"][layer] == pytest.approx(float(before), rel=1e-5)
    assert (table["with it"] <= table["the most it allows"]).all()
    with torch.no_grad():  # keys that look alike in their one large number: the most is reached
        for norm in (model.layers[0].self_attn.q_norm, model.layers[0].self_attn.k_norm):
            norm.weight.fill_(2.0)
        model.layers[0].self_attn.k_proj.weight.copy_(model.layers[0].self_attn.q_proj.weight[:24])
    reached = largest_scores(model, TEXTS[0]).loc[0]
    assert reached["with it"] == pytest.approx(reached["the most it allows"], rel=1e-3)
    with pytest.raises(ValueError, match="no QK-Norm"):
        largest_scores(random_model("gpt-oss-20b"), TEXTS[0])
