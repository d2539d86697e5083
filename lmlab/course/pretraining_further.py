"""Lesson 10, pretraining: the exercises under "Going further"."""

from functools import cache

import torch

from lmlab.configuration import BlockConfig
from lmlab.course.exercises import exercise
from lmlab.model import Block
from lmlab.parts.balancing import global_batch_loss
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.mlp import MLPConfig
from lmlab.parts.mtp import MultiTokenPrediction
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig
from lmlab.parts.router import Routing
from lmlab.train import optimizers
from lmlab.train.objective import _mean
from lmlab.train.recipe import Recipe


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _state(*shape: int, step: int, seed: int) -> tuple:
    """A weight in training: itself, its gradient, both moments before this step, the step, rate and decay."""
    w, grad, m = _random(3, *shape, seed=seed)
    return w, grad, 0.5 * m, _random(*shape, seed=seed + 1).square(), step, 0.1, 0.5


def _by_optimizer(w, grad, m, v, t, rate, decay) -> torch.Tensor:
    """One step of lmlab's own groups of torch's AdamW."""
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(w.clone())
    recipe = Recipe(tokens=4096, learning_rate=rate, weight_decay=decay, muon_learning_rate=None)
    (adamw,) = optimizers.build(module, recipe)
    adamw.state[module.weight] = {"step": torch.tensor(t - 1.0), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    module.weight.grad = grad
    adamw.step()
    return module.weight.detach()


@exercise(
    "10.4",
    "A step of AdamW",
    difficulty=3,
    importance=4,
    minutes=12,
    probes=lambda: [_state(5, 4, step=3, seed=0), _state(7, step=1, seed=1), _state(6, step=9, seed=2)],
    truth=_by_optimizer,
    returns="the weight after the step, in its shape",
    hints=(
        "First the moments: m = 0.9 m + 0.1 grad, v = 0.95 v + 0.05 grad^2. They began at 0, so they are too small at "
        "first: divide by 1 - 0.9^t and 1 - 0.95^t.",
        "The step is rate * m / (sqrt(v) + 1e-8).",
        "The decay stands apart: rate * decay * w is taken off matrices, and off nothing that has one dimension.",
    ),
    mistakes={
        "when norms and biases decay, too: a norm's weight is a scale, and 0 is no place to pull it to": {
            "if w.ndim > 1:": "if True:"
        },
        "when nothing decays": {"if w.ndim > 1:": "if False:"},
        "when the decay is put into the gradient: the root of v divides it away again (Adam with L2, not AdamW)": {
            "m = 0.9 * m + 0.1 * grad": "grad = grad + decay * w * (w.ndim > 1)\n    m = 0.9 * m + 0.1 * grad",
            "rate * decay * w": "0 * w",
        },
        "without the bias correction: the first steps are too short": {"m / (1 - 0.9**t), v / (1 - 0.95**t)": "m, v"},
        "when the decay is not multiplied by the learning rate": {"rate * decay * w": "decay * w"},
        "without the root: v holds squares": {"v.sqrt()": "v"},
        "when the step is not divided by the root of v: gradient descent with momentum": {"m / (v.sqrt() + 1e-8)": "m"},
        "with the square of m in v, in place of the gradient's": {"grad**2": "m**2"},
        "uphill: a gradient points to where the loss grows": {"return w - rate": "return w + rate"},
    },
    after="`build` in `lmlab/train/optimizers.py` sorts them; there Muon takes the layers' matrices, AdamW the rest.",
)
def update(w, grad, m, v, t, rate, decay):
    m = 0.9 * m + 0.1 * grad
    v = 0.95 * v + 0.05 * grad**2
    m, v = m / (1 - 0.9**t), v / (1 - 0.95**t)
    if w.ndim > 1:
        w = w - rate * decay * w
    return w - rate * m / (v.sqrt() + 1e-8)


HIDDEN, SIZE = 12, 17


@cache
def _module() -> MultiTokenPrediction:
    attention = GQAConfig(num_attention_heads=3, num_key_value_heads=1, head_dim=4, rope=RoPEConfig(rope_theta=100.0))
    block = Block(BlockConfig(attention=attention, mlp=MLPConfig(intermediate_size=10)), HIDDEN)
    embedding, head = torch.nn.Embedding(SIZE, HIDDEN), torch.nn.Linear(HIDDEN, SIZE, bias=False)
    module = MultiTokenPrediction(HIDDEN, RMSNormConfig(), block, embedding, head)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in [*module.named_parameters(), *embedding.named_parameters(), *head.named_parameters()]:
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.6, generator=generator)
    return module.requires_grad_(False)


def _predict(hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """hidden (B, T', C) of tokens, ids (B, T') of the tokens behind them -> logits (B, T', V)."""
    if hidden.shape[:2] != ids.shape:
        raise ValueError(f"one id for each state is expected: {tuple(hidden.shape[:2])} states, {tuple(ids.shape)} ids")
    return _module()(hidden, ids)


def _texts(rows: int, length: int, seed: int) -> tuple:
    ids = torch.randint(0, SIZE, (rows, length), generator=torch.Generator().manual_seed(seed))
    return _predict, _random(rows, length, HIDDEN, seed=seed), ids


@exercise(
    "10.5",
    "The loss two tokens on",
    difficulty=3,
    importance=3,
    minutes=8,
    probes=lambda: [_texts(2, 8, seed=0), _texts(3, 6, seed=1)],
    truth=lambda predict, hidden, ids: _mean(predict(hidden[:, :-1], ids[:, 1:])[:, :-1], ids[:, 2:]),
    returns="a number: nats per target",
    hints=(
        "The module reads the state at token i and the token i + 1, and predicts token i + 2.",
        "So it is called with hidden[:, :-1] and ids[:, 1:]: T - 1 pairs. For the last pair there is no target.",
        "The targets are ids[:, 2:]; then it is the loss of 10.1.",
    ),
    mistakes={
        "when the next token is the target: the module was given it, and would learn to copy": {
            "ids[:, 1:])[:, :-1]": "ids[:, 1:])",
            "ids[:, 2:]": "ids[:, 1:]",
        },
        "when the module is given the token itself, not the one behind it": {
            "hidden[:, :-1], ids[:, 1:]": "hidden[:, :-1], ids[:, :-1]"
        },
        "when the state is that of token i + 1, which has read the token that comes with it": {
            "hidden[:, :-1]": "hidden[:, 1:]"
        },
        "when it is asked for the token three on": {
            "ids[:, 1:])[:, :-1]": "ids[:, 1:])[:, :-2]",
            "ids[:, 2:]": "ids[:, 3:]",
        },
        "when the losses are summed, not averaged": {".mean()": ".sum()"},
        "with the softmax over the places, not over the vocabulary": {"log_softmax(-1)": "log_softmax(1)"},
    },
    after="`Objective.forward` adds it with the weight 0.3, as DeepSeek-V3 did for its first 10T tokens; then 0.1.",
)
def mtp_loss(predict, hidden, ids):
    logits = predict(hidden[:, :-1], ids[:, 1:])[:, :-1]  # (B, T - 2, V)
    targets = ids[:, 2:]  # (B, T - 2)
    return -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()


def _routings(layers: int, tokens: int, experts: int, chosen: int, seed: int) -> tuple:
    scores = (2 * _random(layers, tokens, experts, seed=seed)).softmax(-1)
    return torch.tensor(1.7), scores, scores.topk(chosen, dim=-1).indices, 0.3


def _with_balance(loss, scores, indices, weight) -> torch.Tensor:
    losses = [global_batch_loss(Routing(s, s, s, i)) for s, i in zip(scores, indices, strict=True)]
    return loss + weight * torch.stack(losses).mean()


def _learns(function, arguments: tuple) -> str:
    """A loss without a gradient changes nothing."""
    loss, scores, indices, weight = arguments
    scores = scores.clone().requires_grad_()
    total = function(loss, scores, indices, weight)
    if isinstance(total, torch.Tensor) and total.requires_grad:
        return ""
    return "The number is right, but it has no gradient with respect to the scores: no router would learn from it."


@exercise(
    "10.6",
    "The balancing loss, added",
    difficulty=3,
    importance=3,
    minutes=10,
    probes=lambda: [_routings(3, 10, 6, 2, seed=0), _routings(2, 13, 5, 3, seed=1)],
    truth=_with_balance,
    demands=_learns,
    returns="a number: the loss with the balancing losses' mean over the layers, times the weight",
    hints=(
        "f: of all choices in a layer, the share that fell on an expert, times E. Even means 1.",
        "P: an expert's mean score over the tokens. Counts have no gradient; P carries it.",
        "Each layer's loss is the sum over the experts of f P; take the mean of the layers, times the weight.",
    ),
    mistakes={
        "when the balancing loss is not added": {"weight * (load * share).sum(-1).mean()": "0 * share.sum()"},
        "when the layers' losses are summed: the weight would depend on the depth": {".sum(-1).mean()": ".sum()"},
        "with f f in place of f P: counts have no gradient, so nothing would be learned from it": {
            "(load * share)": "(load * load)"
        },
        "with P P in place of f P": {"(load * share)": "(share * share)"},
        "too small by a factor of E: f lacks the number of experts, or a mean stands where the sum should": {
            " * experts / indices": " / indices"
        },
        "when f is counted per token, not per choice: each token makes several": {" / indices.shape[2]": ""},
        "when P is taken over the chosen experts only": {"scores.mean(1)": "(scores * chosen).mean(1)"},
        "without the weight": {"weight * (load": "(load"},
    },
    after="`Objective` does this for routers without a bias of their own. Beside its bias DeepSeek-V3 keeps a loss of "
    "this kind within each sequence, with the weight 0.0001.",
)
def with_balance(loss, scores, indices, weight):
    experts = scores.shape[2]
    chosen = torch.zeros_like(scores).scatter(2, indices, 1.0)  # (L, N, E)
    load = chosen.mean(1) * experts / indices.shape[2]  # (L, E)
    share = scores.mean(1)  # (L, E)
    return loss + weight * (load * share).sum(-1).mean()
