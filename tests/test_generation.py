"""Samplers reshape as they say, and generation writes what a plain loop over the uncached model writes."""

import pytest
import torch

import lmlab
from lmlab.families import MINIATURES
from lmlab.sampling import Greedy, Sampler


@pytest.fixture(scope="module", params=MINIATURES)
def model(request):
    config = lmlab.config(request.param)
    model = lmlab.build(config).eval()
    with torch.no_grad():  # larger weights: the random model must have opinions
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model


def prompt(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1024, (length,), generator=generator).tolist()


@torch.no_grad()
def plain_greedy(model, ids: list[int], count: int) -> list[int]:
    ids = list(ids)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[-count:]


def tokens(steps) -> list[list[int]]:
    return torch.stack([step.token for step in steps], dim=1).tolist()


def test_greedy_equals_a_plain_loop_past_the_window(model):
    ids = prompt(29, 0)  # the window is 32
    assert tokens(lmlab.generate(model, ids, max_new_tokens=7)) == [plain_greedy(model, ids, 7)]


@pytest.mark.parametrize("chunk", [1, 5, 31, 32, 33])
def test_prefill_in_chunks_writes_the_same(model, chunk):
    ids = prompt(40, 1)
    assert tokens(lmlab.generate(model, ids, max_new_tokens=3, prefill_chunk_size=chunk)) == [
        plain_greedy(model, ids, 3)
    ]


@pytest.mark.parametrize("chunk", [None, 4])
def test_prompts_of_unequal_length_do_not_touch_each_other(model, chunk):
    prompts = [prompt(3, 2), prompt(37, 3), prompt(12, 4)]
    written = tokens(lmlab.generate(model, prompts, max_new_tokens=4, prefill_chunk_size=chunk))
    assert written == [plain_greedy(model, ids, 4) for ids in prompts]


def test_lengths_with_padded_ids_equal_a_list_of_prompts(model):
    short = prompt(5, 5)
    ids = torch.tensor([[7, 7, 7, *short], prompt(8, 6)])
    lengths = torch.tensor([5, 8])
    a = tokens(lmlab.generate(model, ids, lengths=lengths, max_new_tokens=3))
    assert a == tokens(lmlab.generate(model, [short, ids[1].tolist()], max_new_tokens=3))


def test_a_stop_token_ends_its_row_and_then_the_generation(model):
    prompts = [prompt(6, 7), prompt(9, 8)]
    first, second = (plain_greedy(model, ids, 6) for ids in prompts)
    stop = first[1]
    steps = list(lmlab.generate(model, prompts, max_new_tokens=6, eos_token_id=[stop]))
    ended = first.index(stop)
    assert [bool(step.finished[0]) for step in steps] == [i >= ended for i in range(len(steps))]
    assert all(int(step.token[0]) == stop for step in steps[ended:])
    until = second.index(stop) + 1 if stop in second else 6
    assert [int(step.token[1]) for step in steps][:until] == second[:until]
    assert len(steps) == max(ended + 1, until)


def test_steps_report_the_models_logits_and_the_cache(model):
    ids = prompt(10, 9)
    steps = list(lmlab.generate(model, ids, max_new_tokens=4, sampler=Sampler(temperature=0.5)))
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[:, -1]
    torch.testing.assert_close(steps[0].logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(steps[0].probabilities, (expected / 0.5).softmax(-1), atol=1e-5, rtol=1e-3)
    assert [step.length for step in steps] == [10, 11, 12, 13]
    assert steps[0].cache_bytes == model.make_cache(1, 13).nbytes


def test_a_seeded_generator_repeats_the_draws(model):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return tokens(lmlab.generate(model, prompt(5, 10), max_new_tokens=12, sampler=Sampler(), generator=generator))

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


LOGITS = torch.tensor([[0.5, 0.25, 0.125, 0.0625, 0.0625]]).log()


def test_temperature_divides_the_logits():
    # at temperature 1/2 probabilities are squared and made to sum to 1 again
    squared = LOGITS.exp() ** 2
    torch.testing.assert_close(Sampler(temperature=0.5).probabilities(LOGITS), squared / squared.sum())


def test_top_k_keeps_exactly_k_also_among_ties():
    torch.testing.assert_close(Sampler(top_k=2).probabilities(LOGITS), torch.tensor([[2 / 3, 1 / 3, 0, 0, 0]]))
    assert int((Sampler(top_k=4).probabilities(LOGITS) > 0).sum()) == 4
    assert int((Sampler(top_k=99).probabilities(LOGITS) > 0).sum()) == 5


def test_top_p_keeps_the_token_that_crosses_the_line():
    kept = lambda p: int((Sampler(top_p=p).probabilities(LOGITS) > 0).sum())  # noqa: E731
    assert [kept(p) for p in (0.01, 0.49, 0.5, 0.51, 0.75, 0.76, 1.0)] == [1, 1, 1, 2, 2, 3, 5]


def test_min_p_is_relative_to_the_most_probable():
    torch.testing.assert_close(Sampler(min_p=0.25).probabilities(LOGITS), torch.tensor([[4, 2, 1, 0, 0]]) / 7)


def test_order_is_temperature_then_top_k_then_top_p_then_min_p():
    # as transformers' warpers apply them one after the other
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0)) * 3
    expected = logits
    for warp in (TemperatureLogitsWarper(1.5), TopKLogitsWarper(20), TopPLogitsWarper(0.8), MinPLogitsWarper(0.1)):
        expected = warp(None, expected)
    sampler = Sampler(temperature=1.5, top_k=20, top_p=0.8, min_p=0.1)
    torch.testing.assert_close(sampler.probabilities(logits), expected.softmax(-1))


def test_draws_follow_the_probabilities():
    probabilities = Sampler(top_k=3).probabilities(LOGITS)
    draws = Sampler().choose(probabilities.expand(20000, -1), torch.Generator().manual_seed(0))
    frequencies = torch.bincount(draws, minlength=5) / 20000
    torch.testing.assert_close(frequencies, probabilities[0], atol=0.015, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: Sampler(temperature=0), "Greedy"),
        (lambda m: Sampler(top_k=0), "top_k=0"),
        (lambda m: Sampler(top_p=1.5), "top_p=1.5"),
        (lambda m: Sampler(min_p=-1), "min_p=-1"),
        (lambda m: lmlab.generate(m, [[1], []], max_new_tokens=2), "empty"),
        (lambda m: lmlab.generate(m, [], max_new_tokens=2), "empty"),
        (lambda m: lmlab.generate(m, [5000], max_new_tokens=2), "0 to 1023: got 5000 to 5000"),
        (lambda m: lmlab.generate(m, [1], max_new_tokens=0), "max_new_tokens=0"),
        (lambda m: lmlab.generate(m, torch.tensor([[0.5]]), max_new_tokens=1), "whole numbers"),
    ],
)
def test_errors_name_what_is_wrong_before_the_first_step(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_greedy_probabilities_are_the_models_own():
    torch.testing.assert_close(Greedy().probabilities(LOGITS), LOGITS.exp())
