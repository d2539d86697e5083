"""The stream is the embedding and all additions, the lens of its end is the model, and shares and votes are whole."""

import pandas as pd
import pytest
import torch

import lmlab
from lmlab import facts
from lmlab.measure import residual
from lmlab.text.pieces import pieces
from lmlab.text.prompts import Prompt
from tests.small import random_model
from tests.text.test_tokenizer import TOKENIZER

NAMES = ["mini-gpt-oss", "mini-qwen3", "mini-qwen3-moe", "mini-deepseek-v3", "qwen3-0.6b", "deepseek-v2-lite"]
IDS = torch.randint(0, 97, (13,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=NAMES)
def model(request):
    return random_model(request.param)


@pytest.fixture
def found(model):
    return residual.stream(model, IDS)


@torch.no_grad()
def test_embedding_and_additions_are_the_final_stream(model, found):
    layers, width = model.config.num_hidden_layers, model.config.hidden_size
    assert found.added.shape == found.states.shape == (2 * layers + 1, 13, width)
    assert torch.equal(found.added[0], model.embed_tokens(IDS))
    stream = torch.zeros_like(found.added[0])
    for added, state in zip(found.added, found.states, strict=True):
        stream = stream + added
        assert torch.equal(stream, state), "added in the order of the model, not even the rounding differs"
    torch.testing.assert_close(model.norm(stream), model.hidden(IDS[None])[0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_lens_of_the_last_state_is_the_model(model, found):
    assert torch.equal(residual.lens(model, found.states[-1]), found.logits)
    torch.testing.assert_close(found.logits, model(IDS[None])[0], atol=1e-4, rtol=1e-4)
    by_hand = model.lm_head(model.norm(model.embed_tokens(IDS)))
    torch.testing.assert_close(residual.lens(model, found.states[0]), by_hand)


def test_in_bfloat16_too():
    model = random_model("mini-gpt-oss").bfloat16()
    found = residual.stream(model, IDS)
    assert found.logits.dtype == torch.float32
    assert torch.equal(residual.lens(model, found.states[-1]), found.logits)
    assert torch.equal(found.states[3] + found.added[4], found.states[4])


def test_parts_are_named_by_what_they_are():
    assert residual.parts(lmlab.config("mini-deepseek-v3")) == (
        *("embedding", "attention 0", "MLP 0", "attention 1", "MLP 1"),
        *("attention 2", "MLP 2", "attention 3", "MLP 3"),
    )
    assert len(residual.parts(lmlab.config("qwen3-0.6b"))) == 57


def test_shares_sum_to_one_and_directions_end_where_they_must(model, found):
    shown = residual.geometry(found)
    ones = torch.ones(13, dtype=torch.float64)
    torch.testing.assert_close(shown["share"].sum(0), ones, atol=1e-5, rtol=0)
    torch.testing.assert_close(shown["to_final"][-1], ones)
    torch.testing.assert_close(shown["to_embedding"][0], ones)
    torch.testing.assert_close(shown["to_embedding"][-1], shown["to_final"][0])
    torch.testing.assert_close(shown["length"][0], shown["added"][0])
    table = residual.journey(found, 5)
    assert list(table.index) == list(found.parts)
    a, b = found.states[4, 5], found.states[-1, 5]
    assert table.to_final.iloc[4] == pytest.approx(float(a @ b / a.norm() / b.norm()), rel=1e-5)
    assert table.share.iloc[4] == pytest.approx(float(found.added[4, 5] @ b / (b @ b)), rel=1e-4, abs=1e-6)
    assert table.length.iloc[4] == pytest.approx(float(a.norm()), rel=1e-6)


def test_votes_sum_to_the_logit_above_the_mean(model, found):
    for tokens in (found.answers, IDS):
        votes = residual.votes(model, found, tokens)
        logit = found.logits.gather(-1, tokens[:, None])[:, 0] - found.logits.mean(-1)
        torch.testing.assert_close(votes.sum(0).float(), logit, atol=1e-4, rtol=1e-4)


def test_a_part_that_adds_nothing_has_no_vote(model):
    def silence(module, inputs, output):
        return 0 * output

    hook = model.layers[1].mlp.register_forward_hook(silence)
    try:
        found = residual.stream(model, IDS)
    finally:
        hook.remove()
    assert residual.votes(model, found, found.answers)[4].abs().max() == 0
    assert residual.geometry(found)["added"][4].abs().max() == 0
    assert torch.equal(found.states[3], found.states[4])


def test_top_and_probability_are_the_lens(model, found):
    values, ids = residual.top(model, found, k=3)
    assert values.shape == ids.shape == (len(found.parts), 13, 3)
    whole = residual.lens(model, found.states).softmax(-1)
    assert torch.equal(ids[..., 0], whole.argmax(-1)) and bool((values.diff(dim=-1) <= 0).all())
    torch.testing.assert_close(values, whole.gather(-1, ids))
    wanted = whole[:, torch.arange(13), IDS]
    torch.testing.assert_close(residual.probability(model, found, IDS), wanted)


def test_what_is_said_is_the_top_in_pieces(model):
    found = residual.stream(model, [TOKENIZER.end, 5, 70, 80])
    tokens, probabilities = residual.said(model, found, TOKENIZER, 2, k=3)
    values, ids = residual.top(model, found, k=3)
    assert tokens.iloc[4].tolist() == pieces(TOKENIZER, ids[4, 2])
    assert probabilities.iloc[4].tolist() == pytest.approx(values[4, 2].tolist())
    assert list(tokens.index) == list(probabilities.index) == list(found.parts) and list(tokens.columns) == [1, 2, 3]


@torch.no_grad()
def test_appearance_is_the_mean_over_prompts_at_their_last_token(model):
    prompts = [Prompt([0, 5, 70], 8, 0.5), Prompt([0, 3], 90, 0.5)]
    shown = residual.appearance(model, prompts)
    found = [residual.stream(model, ids) for ids, *_ in prompts]
    each = [
        residual.lens(model, one.states[3, -1]).softmax(-1)[answer]
        for one, (_, answer, _) in zip(found, prompts, strict=True)
    ]
    assert shown.iloc[3] == pytest.approx(float(sum(each) / 2))
    last = [model(torch.tensor([ids]))[0, -1].softmax(-1)[answer] for ids, answer, _ in prompts]
    assert shown.iloc[-1] == pytest.approx(float(sum(last) / 2), rel=1e-3)
    assert list(shown.index) == list(found[0].parts)


def test_settled_is_the_first_stop_of_the_last_agreement(model, found):
    says = residual.lens(model, found.states).argmax(-1)  # (P, T)
    for token, stop in enumerate(residual.settled(model, found).tolist()):
        agrees = (says[:, token] == found.answers[token]).tolist()
        assert all(agrees[stop:]) and (stop == 0 or not agrees[stop - 1])


def test_a_scale_on_the_embedding_changes_nothing_for_the_first_part_and_something_for_the_rest(model):
    table = residual.rescaled(model, IDS, 2.0)
    assert list(table.index) == [*residual.parts(model.config)[1:], "head"]
    assert table.iloc[0].max() < 2e-3, "but for eps"
    assert table.iloc[1:].min().min() > 1e-2, "what the first part adds counts half as much beside it"
    before = residual.stream(model, IDS)
    assert torch.equal(before.states[0], model.embed_tokens(IDS)), "the model is as before"


def test_a_scale_on_the_whole_stream_changes_nothing(model, found):
    states = found.states[-1].double() * 2
    doubled = residual.lens(model, states.float())
    torch.testing.assert_close(doubled, found.logits, atol=1e-4, rtol=1e-4)


def test_eps_shares_are_those_of_the_norm(model, found):
    share = residual.eps_share(model, found)
    squares, eps = found.states[0].double().square().mean(-1), model.config.norm.eps
    assert share.iloc[0] == pytest.approx(float((eps / (squares + eps)).mean()))
    assert isinstance(share, pd.Series) and list(share.index) == list(found.parts)


def test_what_is_no_text_of_the_model_is_refused():
    model = random_model("mini-qwen3")
    with pytest.raises(ValueError, match=r"shape \(1, 13\): the ids of one text"):
        residual.stream(model, IDS[None])
    with pytest.raises(ValueError, match=r"shape \(0,\).* at least one"):
        residual.stream(model, torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="from 0 to 1024; the embedding has rows 0 to 1023"):
        residual.stream(model, [0, 1024])


def test_embedding_and_head_are_the_share_that_the_facts_say():
    names = ("gpt-oss-20b", "gpt-oss-120b", "qwen3-0.6b", "qwen3-4b", "qwen3-8b", "deepseek-v3")
    table = residual.vocabulary({name: lmlab.config(name) for name in names})
    assert table.share.map("{:.1%}".format)[["qwen3-0.6b", "gpt-oss-20b", "deepseek-v3"]].tolist() == [
        *("26.1%", "5.5%", "0.3%")
    ]
    assert table["head"].eq("the embedding, tied").tolist() == [False, False, True, True, False, False]
    assert table.loc["qwen3-0.6b", ["tokens", "rows", "spare"]].tolist() == [151_669, 151_936, 267]
    assert table.loc["gpt-oss-20b", ["tokens", "rows", "spare"]].tolist() == [201_088, 201_088, 0]
    assert table.rows["deepseek-v3"] == 129_280 and table.loc["deepseek-v3", ["tokens", "spare"]].isna().all()
    for name in names:
        known = facts.table(name).set_index("field").value
        if "non_embedding_parameters" in known:
            left = int(known["total_parameters"]) - int(known["non_embedding_parameters"])
            assert table.parameters[name] == left, name
        if name.startswith("gpt"):
            assert f"{table.parameters[name] / 1e9:.2f}B" == known["embedding_and_unembedding_parameters_published"]
