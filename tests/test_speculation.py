"""Speculative decoding writes what the model alone would: the same tokens, or the same distribution of them."""

from dataclasses import replace

import pytest
import torch

import lmlab
from lmlab import speculation
from lmlab.sampling import Greedy, Sampler
from tests import hf

DEEPSEEK = lmlab.config("mini-deepseek-v3")
GPT_OSS = lmlab.config("mini-gpt-oss")  # no such model has MTP: a window and sinks under speculation, for the caches
CONFIGS = {"mini-deepseek-v3": DEEPSEEK, "mini-gpt-oss": replace(GPT_OSS, mtp=GPT_OSS.blocks[:1])}
WORDS = 30  # few, so that a random guesser is right now and then


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    model = lmlab.build(replace(CONFIGS[request.param], vocab_size=WORDS)).eval()
    hf.randomise(model)
    return model


@pytest.fixture(scope="module")
def agreeing():
    """A model that looks at the last token alone, and a module that knows what it will say: every draft is kept."""
    config = replace(DEEPSEEK, blocks=DEEPSEEK.blocks[:1])
    model = lmlab.build(config, generator=torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
        for block in (model.layers[0], model.mtp[0].block):
            mlp = block.mlp if hasattr(block.mlp, "down_proj") else block.mlp.experts
            for weight in (block.self_attn.o_proj.weight, mlp.down_proj):
                (weight.weight if hasattr(weight, "weight") else weight).zero_()
        model.mtp[0].block.mlp.shared_experts.down_proj.weight.zero_()
        model.mtp[0].eh_proj.weight.copy_(torch.eye(config.hidden_size, 2 * config.hidden_size))
    return model


def prompt(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, WORDS, (1, length), generator=torch.Generator().manual_seed(seed))


def tokens(steps) -> list[int]:
    return [int(step.token[0]) for step in steps]


def kept(steps) -> list[bool | None]:
    return [step.draft.accepted if step.draft else None for step in steps]


@pytest.mark.parametrize("length", [1, 2, 29])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 25])
def test_greedy_writes_the_same_tokens_past_the_window(model, length, count):
    alone = tokens(lmlab.generate(model, prompt(length), max_new_tokens=count))
    assert tokens(lmlab.generate(model, prompt(length), max_new_tokens=count, speculative=True)) == alone
    chunked = lmlab.generate(model, prompt(length), max_new_tokens=count, speculative=True, prefill_chunk_size=5)
    assert tokens(chunked) == alone


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_greedy_with_a_guesser_that_is_always_right(agreeing, count):
    alone = tokens(lmlab.generate(agreeing, prompt(4), max_new_tokens=count))
    steps = list(lmlab.generate(agreeing, prompt(4), max_new_tokens=count, speculative=True))
    assert tokens(steps) == alone
    assert kept(steps) == [None, True, None, True, None][:count]
    # seeded: target and draft agree but for rounding, so one draw in some ten thousand would refuse a draft
    generator = torch.Generator().manual_seed(0)
    sampled = lmlab.generate(
        agreeing, prompt(4), max_new_tokens=50, sampler=Sampler(), generator=generator, speculative=True
    )
    assert kept(sampled) == [None, True] * 25


@torch.no_grad()
def test_each_step_is_what_model_and_module_say_without_a_cache(model):
    ids = prompt(27)
    sampler, generator = Sampler(temperature=2.0, top_k=9), torch.Generator().manual_seed(1)
    accepted = set()
    for step in lmlab.generate(
        model, ids, max_new_tokens=30, sampler=sampler, generator=generator, speculative=True, prefill_chunk_size=10
    ):
        assert step.length == ids.shape[1]
        hidden = model.hidden(ids)
        torch.testing.assert_close(step.logits, model.lm_head(hidden[:, -1]), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(step.probabilities, sampler.probabilities(step.logits))
        if step.draft:
            accepted.add(step.draft.accepted)
            guess = model.mtp[0](hidden[:, :-1], ids[:, 1:])[:, -1]
            torch.testing.assert_close(step.draft.logits, guess, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(step.draft.probabilities, sampler.probabilities(step.draft.logits))
            assert not step.draft.accepted or step.token == step.draft.token
        ids = torch.cat((ids, step.token[:, None]), dim=1)
    assert accepted == {True, False}


def test_caches_hold_what_is_verified_and_nothing_more(model, monkeypatch):
    held = []
    for owner in (model, model.mtp[0]):
        make = owner.make_cache
        monkeypatch.setattr(
            owner, "make_cache", lambda *sizes, make=make, **k: held.append(make(*sizes, **k)) or held[-1]
        )
    ids, generator = prompt(27), torch.Generator().manual_seed(1)
    sampler = Sampler(temperature=2.0, top_k=9)
    for step in lmlab.generate(model, ids, max_new_tokens=30, sampler=sampler, generator=generator, speculative=True):
        main, own = held
        kept_draft = bool(step.draft and step.draft.accepted)  # read with the token before it
        assert int(main.length) == step.length + kept_draft
        after_bonus = step.draft is None and step.length > 27
        # the guesser has read the pairs of a token and the one after it, but for those that are new in this round
        assert int(own.length) == step.length - 1 - after_bonus
    assert step.cache_bytes == main.nbytes + own.nbytes


def test_a_stop_token_ends_the_text_wherever_it_stands_in_a_pair(agreeing):
    text = tokens(lmlab.generate(agreeing, prompt(4), max_new_tokens=9))
    for place in (0, 1, 2):  # before any draft, a kept draft, and the token after one
        assert text[place] not in text[:place]
        steps = list(
            lmlab.generate(agreeing, prompt(4), max_new_tokens=9, eos_token_id=[text[place]], speculative=True)
        )
        assert tokens(steps) == text[: place + 1]
        assert [bool(step.finished) for step in steps] == [False] * place + [True]


def test_a_seeded_generator_repeats_the_draws(model):
    def draw(seed):
        options = {"sampler": Sampler(), "generator": torch.Generator().manual_seed(seed), "speculative": True}
        return tokens(lmlab.generate(model, prompt(5), max_new_tokens=12, **options))

    assert draw(0) == draw(0) != draw(1)


def test_one_padded_row_is_read_without_its_padding(model):
    ids = prompt(9)
    padded = torch.cat((torch.full((1, 3), 7), ids), dim=1)
    options = {"max_new_tokens": 6, "speculative": True}
    written = tokens(lmlab.generate(model, padded, lengths=torch.tensor([9]), **options))
    assert written == tokens(lmlab.generate(model, ids, **options))


def test_errors_name_the_way_out():
    plain = lmlab.build(lmlab.config("mini-qwen3"))
    with pytest.raises(ValueError, match="multi-token-prediction.*speculative=False"):
        lmlab.generate(plain, prompt(3), max_new_tokens=2, speculative=True)
    with pytest.raises(ValueError, match="one row, and 2 were given"):
        lmlab.generate(lmlab.build(DEEPSEEK), [[1, 2], [3]], max_new_tokens=2, speculative=True)


# Distributions. A text over few tokens in which each depends on the one before: everything is known exactly.

VOCABULARY = 4
SAMPLERS = [Sampler(), Sampler(temperature=0.6, top_k=3), Sampler(top_p=0.8), Sampler(min_p=0.3)]


def table(seed: int) -> torch.Tensor:
    return torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 1.5


class NoCache:
    def trim(self, n: int) -> None:
        pass


def written(sampler: Sampler, count: int) -> torch.Tensor:
    """A text by `speculate` from two tables: the model's logits after each token, and the guesser's, another one's."""
    model, guesser = table(0), table(1)

    def verify(ids, cache):
        return torch.zeros(1, 2, 1), model[ids]

    choices = speculation.speculate(
        lambda hidden, ids: guesser[ids[:, -1]],
        verify,
        NoCache(),
        torch.zeros(1, 1, 1),
        model[:1],
        sampler,
        torch.Generator().manual_seed(0),
    )
    return torch.tensor([int(token) for (token, *_), _ in zip(choices, range(count), strict=False)])


def p_value(counts: torch.Tensor, expected: torch.Tensor) -> float:
    """Of Pearson's chi-square test; cells of which fewer than 5 are expected are taken together."""
    assert counts[expected == 0].sum() == 0
    few = expected < 5
    pool = lambda cells: torch.cat((cells[~few], cells[few].sum(0, keepdim=True))) if few.any() else cells  # noqa: E731
    counts, expected = pool(counts.double()), pool(expected.double())
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2).double(), statistic / 2))


def fit(sampler: Sampler, count: int = 9000) -> float:
    """The smallest p-value of the pairs that follow each token, where the model's own are expected."""
    text, p = written(sampler, count), sampler.probabilities(table(0))
    first, second, third = text[: count // 3 * 3].view(-1, 3).T  # disjoint, so that they are independent
    values = []
    for token in range(VOCABULARY):
        pairs = (second * VOCABULARY + third)[first == token]
        expected = (p[token][:, None] * p).flatten() * len(pairs)
        values.append(p_value(torch.bincount(pairs, minlength=VOCABULARY**2), expected))
    return min(values)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_pairs_of_sampled_tokens_have_the_models_distribution(sampler):
    assert fit(sampler) > 0.01


def always(sampler, draft, q, p, generator=None):
    return True, draft


def without_the_residual(sampler, draft, q, p, generator=None):
    accepted, token = speculation_judge(sampler, draft, q, p, generator)
    return accepted, token if accepted else sampler.choose(p, generator)


def swapped(sampler, draft, q, p, generator=None):
    return speculation_judge(sampler, draft, p, q, generator)


def never(sampler, draft, q, p, generator=None):
    return False, sampler.choose((p - q).clamp(min=0) + 1e-9, generator)


speculation_judge = speculation.judge


@pytest.mark.parametrize("mistake", [always, without_the_residual, swapped, never])
def test_each_known_mistake_is_seen_by_that_test(mistake, monkeypatch):
    monkeypatch.setattr(speculation, "judge", mistake)
    assert fit(Sampler()) < 1e-6


def test_drafts_are_kept_as_often_as_the_two_distributions_overlap():
    p, q = (torch.rand(1, 6, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    p, q = p / p.sum(), q / q.sum()
    generator, count = torch.Generator().manual_seed(2), 4000
    drafts = torch.multinomial(q[0], count, replacement=True, generator=generator)
    share = sum(speculation.judge(Sampler(), d[None], q, p, generator)[0] for d in drafts) / count
    assert share == pytest.approx(float(torch.minimum(p, q).sum()), abs=0.02)


def test_where_both_agree_to_rounding_nothing_is_rejected():
    q = torch.full((1, 3), 1 / 3)
    p = 0.9 * q  # rounding, much enlarged: no token is left to draw from
    for seed in range(200):
        accepted, token = speculation.judge(Sampler(), torch.tensor([1]), q, p, torch.Generator().manual_seed(seed))
        assert accepted and token == 1


def test_greedy_keeps_a_draft_that_is_the_models_own_choice():
    p = torch.tensor([[0.2, 0.5, 0.3]])
    q = torch.tensor([[0.1, 0.8, 0.1]])  # a sampler would reject this draft now and then
    for draft in range(3):
        for _ in range(20):
            accepted, token = speculation.judge(Greedy(), torch.tensor([draft]), q, p)
            assert (accepted, int(token)) == (draft == 1, 1)


def test_a_real_model_under_speculation_has_its_own_distribution():
    config = replace(DEEPSEEK, vocab_size=VOCABULARY, blocks=DEEPSEEK.blocks[:1])
    model = lmlab.build(config).eval()
    hf.randomise(model)
    ids, sampler = torch.tensor([[1, 3, 0]]), Sampler(temperature=1.5)
    generator, counts, kept_drafts = torch.Generator().manual_seed(0), torch.zeros(VOCABULARY**3), 0
    for _ in range(600):
        options = {"max_new_tokens": 3, "sampler": sampler, "generator": generator, "speculative": True}
        steps = list(lmlab.generate(model, ids, **options))
        a, b, c = tokens(steps)
        counts[(a * VOCABULARY + b) * VOCABULARY + c] += 1
        kept_drafts += steps[1].draft.accepted
    assert 100 < kept_drafts < 550
    texts = torch.cartesian_prod(*[torch.arange(VOCABULARY)] * 3)  # (V^3, 3), in the order of the counts
    with torch.no_grad():
        logits = model(torch.cat((ids.expand(len(texts), -1), texts), dim=1))[:, 2:5]  # (V^3, 3, V)
    p = sampler.probabilities(logits).gather(-1, texts[..., None]).prod(1).squeeze(-1)  # (V^3,)
    assert p_value(counts, p * 600) > 0.01
