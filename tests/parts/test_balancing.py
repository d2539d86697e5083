"""The balancing losses by hand, against transformers, and doing what they are for."""

import pytest
import torch

from lmlab.parts.balancing import (
    auxiliary_loss,
    expert_counts,
    global_batch_loss,
    load,
    mean_share,
    sequence_wise_loss,
    update_bias_,
)
from lmlab.parts.router import Routing, SigmoidGroupRouterConfig, SoftmaxTopKRouterConfig

EXPERTS, CHOSEN, HIDDEN = 6, 2, 10


def softmax_router():
    router = SoftmaxTopKRouterConfig(num_experts=EXPERTS, num_experts_per_tok=CHOSEN).build(HIDDEN)
    skew(router)
    return router


def sigmoid_router():
    config = SigmoidGroupRouterConfig(num_experts=EXPERTS, num_experts_per_tok=CHOSEN, n_group=3, topk_group=2)
    router = config.build(HIDDEN)
    skew(router)
    return router


@torch.no_grad()
def skew(router):
    """Two experts answer to the direction that all tokens share."""
    router.weight.normal_(generator=torch.Generator().manual_seed(0)).mul_(0.3)
    router.weight[:2, 0] += 1.5


def tokens(count: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += 1
    return x


def even() -> Routing:
    """Three tokens choose two experts each: every expert once."""
    scores = torch.full((3, EXPERTS), 1 / EXPERTS)
    return Routing(scores.log(), scores, torch.full((3, 2), 0.5), torch.tensor([[0, 1], [2, 3], [4, 5]]))


def test_counts_and_loads():
    assert expert_counts(torch.tensor([[0, 1], [0, 5]]), EXPERTS).tolist() == [2, 1, 0, 0, 0, 1]
    assert load(torch.tensor([2.0, 1, 0, 0, 0, 1])).tolist() == [3, 1.5, 0, 0, 0, 1.5]
    assert load(torch.zeros(4)).tolist() == [0, 0, 0, 0], "no tokens, no load"


def test_even_is_one_and_collapsed_is_experts_over_chosen():
    assert float(auxiliary_loss(even())) == pytest.approx(1)
    scores = torch.tensor([[0.5, 0.5, 0, 0, 0, 0]]).expand(4, -1)
    collapsed = Routing(scores, scores, scores[:, :2], torch.tensor([[0, 1]]).expand(4, -1))
    assert float(auxiliary_loss(collapsed)) == pytest.approx(EXPERTS / CHOSEN)


def test_by_hand():
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    routing = Routing(scores.log(), scores, torch.ones(2, 1), torch.tensor([[0], [1]]))
    # f = 3/2 * (1, 1, 0); P = (0.4, 0.4, 0.2)
    assert float(auxiliary_loss(routing)) == pytest.approx(1.5 * 0.8)


def test_transformers_has_the_same_times_the_number_chosen():
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    with torch.no_grad():
        routing = softmax_router()(tokens(50))
    theirs = load_balancing_loss_func((routing.logits,), EXPERTS, CHOSEN)
    assert float(auxiliary_loss(routing)) * CHOSEN == pytest.approx(float(theirs), rel=1e-5)


def test_sigmoid_scores_become_shares():
    share = mean_share(torch.tensor([[0.9, 0.3, 0.6], [0.2, 0.2, 0.4]]))
    torch.testing.assert_close(share, torch.tensor([0.375, 0.2083333, 0.4166667]))


@pytest.mark.parametrize("make", [softmax_router, sigmoid_router])
def test_every_loss_has_a_gradient_into_the_router(make):
    for loss in (auxiliary_loss, global_batch_loss, lambda routing: sequence_wise_loss(routing, [20, 30])):
        router = make()
        loss(router(tokens(50))).backward()
        assert router.weight.grad.abs().max() > 1e-4


def test_a_step_against_the_loss_evens_the_load():
    for loss in (auxiliary_loss, global_batch_loss, lambda routing: sequence_wise_loss(routing, [100, 156])):
        router = softmax_router()
        before = load(expert_counts(router(tokens(2000, seed=9)).indices, EXPERTS)).max()
        optimizer = torch.optim.SGD(router.parameters(), lr=0.5)
        for step in range(200):
            optimizer.zero_grad()
            loss(router(tokens(256, seed=step))).backward()
            optimizer.step()
        after = load(expert_counts(router(tokens(2000, seed=9)).indices, EXPERTS)).max()
        assert before > 1.8 and after < 1.3


def test_the_global_batch_lets_a_text_use_few_experts():
    router = softmax_router()
    texts = [router(tokens(30, seed=seed)) for seed in range(2)]
    before = expert_counts(texts[0].indices, EXPERTS)
    both = before + expert_counts(texts[1].indices, EXPERTS)
    expected = (load(both) * mean_share(texts[1].scores)).sum()
    torch.testing.assert_close(global_batch_loss(texts[1], before), expected)
    torch.testing.assert_close(global_batch_loss(texts[1]), auxiliary_loss(texts[1]))


def test_the_global_batch_is_that_of_all_ranks(monkeypatch):
    ranks = [softmax_router()(tokens(30, seed=seed)) for seed in range(4)]  # two micro-batches on each of two ranks
    counts = [expert_counts(routing.indices, EXPERTS) for routing in ranks]
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda mine: mine.add_(counts[2] + counts[3]))
    expected = (load(sum(counts)) * mean_share(ranks[1].scores)).sum()
    torch.testing.assert_close(global_batch_loss(ranks[1], counts[0]), expected)
    assert torch.equal(counts[0], expert_counts(ranks[0].indices, EXPERTS)), "the running sum is the caller's"


def test_sequences_are_judged_one_by_one():
    routing = softmax_router()(tokens(50))
    parts = [Routing(*(t[a:b] for t in routing)) for a, b in ((0, 20), (20, 50))]
    expected = (auxiliary_loss(parts[0]) + auxiliary_loss(parts[1])) / 2
    torch.testing.assert_close(sequence_wise_loss(routing, [20, 30]), expected)
    torch.testing.assert_close(sequence_wise_loss(routing, [20, 0, 30]), expected)  # an empty row has no say
    with pytest.raises(ValueError, match="add up to 40, and the routing holds 50"):
        sequence_wise_loss(routing, [20, 20])


@torch.no_grad()
def test_the_sequence_wise_load_is_by_scores_and_not_by_the_biased_choice():
    router, steered = sigmoid_router(), sigmoid_router()
    steered.e_score_correction_bias += torch.arange(EXPERTS)
    x = tokens(50)
    assert not torch.equal(router(x).indices, steered(x).indices)
    torch.testing.assert_close(sequence_wise_loss(router(x), [20, 30]), sequence_wise_loss(steered(x), [20, 30]))
    assert abs(auxiliary_loss(router(x)) - auxiliary_loss(steered(x))) > 0.1


def test_the_bias_moves_against_the_load_and_evens_it():
    router = sigmoid_router()
    update_bias_(router, torch.tensor([4.0, 1, 1, 2, 2, 2]), gamma=0.25)
    assert router.e_score_correction_bias.tolist() == [-0.25, 0.25, 0.25, 0, 0, 0]
    router = sigmoid_router()
    weight = router.weight.detach().clone()
    before = load(expert_counts(router(tokens(2000, seed=9)).indices, EXPERTS)).max()
    for step in range(300):
        update_bias_(router, expert_counts(router(tokens(256, seed=step)).indices, EXPERTS), gamma=0.01)
    after = load(expert_counts(router(tokens(2000, seed=9)).indices, EXPERTS)).max()
    assert before > 1.8 and after < 1.3
    assert torch.equal(router.weight, weight)
