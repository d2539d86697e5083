"""Entropy, acceptance and costs against other ways to compute them; cache bytes against what is allocated."""

import math
from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import lmlab
import lmlab.measure.flops
from lmlab.generation import read
from lmlab.generation_session import Session
from lmlab.measure import sizes
from lmlab.measure.generation import (
    acceptance,
    cache_use,
    candidates,
    drafting,
    entropy,
    fates,
    flops_by_token,
    seconds_by_token,
    seconds_of_pass,
    weights_read,
)
from lmlab.parts.moe import MoEConfig
from lmlab.sampling import Sampler
from tests.small import random_model

P = torch.tensor([[0.5, 0.2, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25]])


def test_entropy_in_bits():
    assert entropy(P).tolist() == pytest.approx([1.4854753, 2.0])
    assert float(entropy(torch.tensor([0.0, 1.0]))) == 0
    logits = torch.randn(97, generator=torch.Generator().manual_seed(0))
    p = torch.distributions.Categorical(logits=logits)
    assert float(entropy(p.probs)) == pytest.approx(float(p.entropy()) / math.log(2), rel=1e-5)


def test_candidates_are_the_models_own_best_and_one_more_if_asked():
    table = candidates(P[0], P[1], 2, also=3)
    assert table.index.tolist() == [0, 2, 3] and table.index.name == "token"
    assert table.own.tolist() == pytest.approx([0.5, 0.3, 0.0]) and table.reshaped.tolist() == [0.25] * 3
    assert candidates(P[0], P[1], 2, also=2).index.tolist() == [0, 2]
    assert candidates(P[0], P[1], 9).index.tolist()[:3] == [0, 2, 1], "no more than there are"


def test_acceptance_is_what_p_and_q_share():
    q = torch.tensor([0.1, 0.6, 0.2, 0.1])
    assert float(acceptance(P[0], q)) == pytest.approx(0.1 + 0.2 + 0.2)
    assert acceptance(P, P).tolist() == pytest.approx([1, 1])
    drawn = torch.multinomial(q, 20_000, replacement=True, generator=torch.Generator().manual_seed(0))
    assert float((P[0] / q)[drawn].clamp(max=1).mean()) == pytest.approx(0.5, abs=0.012)


def test_drafting_counts_what_became_of_drafts():
    session = Session(
        random_model("mini-deepseek-v3"), [3, 1, 4], max_length=80, sampler=Sampler(temperature=9.0), drafts=True
    )
    steps = [session.step() for _ in range(70)]
    told, hows = drafting(steps), [token.how for token in session.written]
    assert told.tokens == 70 and told.accepted == hows.count("accepted") > 0
    assert told.drafts == told.accepted + hows.count("replaced") and told.passes == session.passes < 70
    shared = [step.probabilities.minimum(step.draft.probabilities).sum() for step in steps if step.draft]
    assert told.promised == pytest.approx(float(sum(shared)), rel=1e-5)


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-qwen3", "mini-deepseek-v3"])
def test_flops_of_a_token_are_those_of_the_passes(name):
    """Counted by torch where no attention is in it: the matrices; in a step with a cache each is used for one token."""
    config = lmlab.config(name)
    table = flops_by_token(config, prompt=20, new=3)
    assert table.index.tolist() == [1, 2, 3]
    assert table["with a cache"][1] == table["without a cache"][1], "the prompt is read once either way"
    assert (table["without a cache"].diff().dropna() > 0).all() and table["with a cache"][3] > table["with a cache"][2]
    assert table["with a cache"][2] < table["without a cache"][2] / 10
    head = 2 * config.hidden_size * config.vocab_size
    for n, tokens, context in ((1, 20, 0), (3, 1, 21)):
        whole = int(lmlab.measure.flops.flops(config, tokens, context)["flops"].sum())
        assert table["with a cache"][n] == whole - (tokens - 1) * head
    assert table["without a cache"][3] == int(lmlab.measure.flops.flops(config, 22)["flops"].sum()) - 21 * head


def test_flops_equal_what_torch_counts():
    """One query, which sees every key; attention in plain products, as a trace computes it."""
    model = random_model("mini-qwen3")
    cache = model.make_cache(1, 30)
    ids = torch.arange(21)[None]
    read(model, ids[:, :20], cache)
    with lmlab.Trace(model), FlopCounterMode(display=False) as counter:
        read(model, ids[:, 20:], cache)
    assert flops_by_token(model.config, 20, 2)["with a cache"][2] == pytest.approx(counter.get_total_flops(), rel=1e-9)


def test_timed_tokens_are_those_that_generate_writes(monkeypatch):
    model, read = random_model("mini-qwen3"), []
    hidden = type(model).hidden
    monkeypatch.setattr(type(model), "hidden", lambda self, ids, *rest: read.append(ids) or hidden(self, ids, *rest))
    table = seconds_by_token(model, [3, 1, 4, 1, 5], new=4, repeats=2)
    assert (table > 0).all(axis=None) and table.shape == (4, 2) and table.index.tolist() == [1, 2, 3, 4]
    assert [ids.shape[1] for ids in read] == [*[5, 1, 1, 1] * 2, *[5, 6, 7, 8] * 2]
    written = [int(ids) for ids in read[1:4]], read[-1][0, 5:].tolist()
    steps = [int(step.token) for step in lmlab.generate(model, [3, 1, 4, 1, 5], max_new_tokens=3)]
    assert written == (steps, steps)


def test_a_timed_pass_reads_so_many_tokens_of_the_text_after_the_others(monkeypatch):
    model, read, text = random_model("mini-gpt-oss"), set(), [*range(7, 49)]
    hidden = type(model).hidden

    def watched(self, ids, cache):
        read.add((int(cache.length), *ids[0].tolist()))
        return hidden(self, ids, cache)

    monkeypatch.setattr(type(model), "hidden", watched)
    table = seconds_of_pass(model, text, tokens=[1, 2])
    assert table.index.tolist() == [1, 2] and (table > 0).all()
    assert read == {(0, *text[:40]), (40, text[40]), (40, *text[40:])}
    with pytest.raises(ValueError, match="a text of 2 tokens leaves none to stand before a pass over 2"):
        seconds_of_pass(model, [3, 1], tokens=[1, 2])


@pytest.mark.parametrize("name", ["gpt-oss-120b", "qwen3-8b", "qwen3-235b-a22b", "deepseek-v3"])
def test_weights_read_lie_between_those_of_one_token_and_all(name):
    config = lmlab.config(name)
    read = [weights_read(config, n) for n in (1, 2, 10, 100_000)]
    assert read[0] == sizes.active(config, embedding=False)
    embedding = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    assert read[-1] == pytest.approx(sizes.total(config) - embedding, rel=1e-9), "in the end all experts are read"
    if name == "qwen3-8b":
        assert len({*read}) == 1, "a dense model reads all of it for one token"
    else:
        assert read == sorted(read) and read[1] < 2 * read[0]


def test_weights_read_are_those_that_random_choices_reach():
    config = lmlab.config("mini-deepseek-v3")
    mlp, generator = config.blocks[-1].mlp, torch.Generator().manual_seed(0)
    scores = torch.rand(20_000, 3, mlp.num_experts, generator=generator)  # three tokens each
    chosen = torch.zeros_like(scores).scatter(-1, scores.topk(mlp.num_experts_per_tok).indices, 1.0)
    reached = float(chosen.amax(1).sum(-1).mean())
    one = 3 * config.hidden_size * mlp.moe_intermediate_size
    layers = sum(isinstance(block.mlp, MoEConfig) for block in config.blocks)
    more = layers * one * (reached - mlp.num_experts_per_tok)
    assert weights_read(config, 3) == pytest.approx(sizes.active(config, embedding=False) + more, rel=2e-3)


def test_drafting_times_what_is_still_to_be_written(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("lmlab.measure.generation.perf_counter", lambda: clock[0])
    model, how = random_model("mini-deepseek-v3"), {"max_new_tokens": 9, "sampler": Sampler(temperature=9.0)}

    def steps(**more):
        for step in lmlab.generate(model, [3, 1, 4], generator=torch.Generator().manual_seed(0), **how, **more):
            clock[0] += 0.5
            yield step

    told = drafting(steps(speculative=True)) + drafting(steps())
    assert told.seconds == 9.0 and told.tokens == 18 and told.passes == 18 - told.accepted


def test_fates_are_those_of_a_session():
    model = random_model("mini-deepseek-v3")
    session = Session(model, [3, 1, 4], max_length=80, sampler=Sampler(temperature=9.0), drafts=True)
    found = fates([session.step() for _ in range(60)])
    written = [(id, how) for id, how in found if how != "rejected"]
    assert written == [(token.id, token.how) for token in session.written]
    assert {how for _, how in found} == {"drawn", "accepted", "rejected", "replaced"}
    for (_, how), (_, after) in pairwise(found):
        assert (how == "rejected") == (after == "replaced")
    rejected = [token.draft for token in session.written if token.how == "replaced"]
    assert [id for id, how in found if how == "rejected"] == rejected


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-qwen3", "mini-deepseek-v3"])
def test_cache_use_by_kind(name):
    model = random_model(name)
    cache = model.make_cache(2, 50)
    read(model, torch.arange(80).view(2, 40), cache)
    use = cache_use(model, cache)
    assert use.allocated.sum() == cache.nbytes
    kinds = {"mini-gpt-oss": ["window", "full"], "mini-qwen3": ["full"], "mini-deepseek-v3": ["latent"]}[name]
    assert sorted(use.index) == sorted(kinds)
    for kind in kinds:
        share = {"window": 1.0, "full": 0.8, "latent": 0.8}[kind]  # 40 of 50 places, or a whole window of 32
        assert use.used[kind] == pytest.approx(share * use.allocated[kind])


def test_the_drafters_cache_is_one_more_layer():
    model = random_model("mini-deepseek-v3")
    session = Session(model, [3, 1, 4], max_length=20, drafts=True)
    for _ in range(5):
        session.step()
    use = cache_use(model, session.cache, session.drafter.cache)
    assert use.allocated.sum() == session.cache_bytes
    layer = use.used["latent"] / 4 / int(session.cache.length)
    assert use.used["MTP"] == layer * int(session.drafter.cache.length) > 0
