"""Lesson 01, tokens and the residual stream: its prediction, and the exercises in its path."""

from functools import cache

import torch

import lmlab.families
from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.course.exercises import Prediction, exercise
from lmlab.measure import residual
from lmlab.model import LanguageModel, build
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.masks import timeline_of
from lmlab.parts.mlp import MLPConfig
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import RoPEConfig


def _left() -> str:
    config = lmlab.families.config("mini-qwen3")
    found = residual.stream(build(config), list(range(40)))
    written = found.states[-1] - found.states[0]
    off = float((written - found.added[1:].sum(0)).abs().max())
    return (
        f"Computed: the last state less the embedding is the sum of what the {len(found.parts) - 1} parts added, to "
        f"{off:.0e}, here with random weights, and with any others."
    )


left = Prediction(
    number="01.0",
    title="What is left of a token",
    question="A token enters as 128 numbers, its row of the embedding, and passes four layers, each with an attention "
    "and an MLP. The state after the last layer is 128 numbers again. What is left in it of the first ones?",
    choices={
        "nothing: each layer puts a new vector in place of the old one": "No layer ever writes over the state.",
        "a share that fades: each layer keeps some of it": "No layer scales the state down: nothing fades.",
        "all of it: the layers only add to it": "",
        "its length: the layers turn it": "Its length changes as well, and a rotation would leave nothing to add.",
    },
    right="all of it: the layers only add to it",
    answer=_left,
)

TOKENS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, WIDTH, ROWS = 7, 16, 4, 2, 6, 22, 29  # a different number for each


@cache
def model() -> LanguageModel:
    """Two layers with weights that are degenerate in nothing."""
    rope = RoPEConfig(rope_theta=100.0)
    attention = GQAConfig(num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, rope=rope)
    block = BlockConfig(attention=attention, mlp=MLPConfig(intermediate_size=WIDTH))
    made = build(
        ModelConfig(vocab_size=ROWS, hidden_size=HIDDEN, blocks=(block, block), max_position_embeddings=TOKENS)
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.4, generator=generator)
    return made.requires_grad_(False)


@cache
def read() -> residual.Stream:
    return residual.stream(model(), [3, 1, 4, 1, 5, 9, 2])


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    norm = RMSNormConfig(eps=eps, weight_in_float32=True).build(len(weight))
    norm.weight.data = weight
    return norm(x).detach()


@exercise(
    "01.1",
    "RMSNorm",
    difficulty=2,
    importance=5,
    minutes=8,
    returns="(T, C), in the type of x",
    probes=lambda: [
        (_random(5, 12) + 0.5, 1 + 0.3 * _random(12, seed=1), 1e-5),
        (_random(4, 10, seed=2) * 0.02, 1 + 0.3 * _random(10, seed=3), 1e-3),
        ((_random(6, 14, seed=4) * 3).bfloat16(), 1 + 0.3 * _random(14, seed=5), 1e-5),
    ],
    truth=_norm,
    hints=(
        "The root of the mean of the squares of each token's own C numbers; `keepdim=True` lets it divide them.",
        "eps is added to the mean, before the root. No mean is subtracted.",
        "Work in float32 (`x.float()`), multiply by the weight, and go back with `.to(x.dtype)` at the very end.",
    ),
    mistakes={
        "when the mean is subtracted first: that is LayerNorm": {
            "y = x.float()": "y = x.float() - x.float().mean(dim=-1, keepdim=True)"
        },
        "with eps outside the root": {
            "torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + eps)": (
                "1 / (y.square().mean(dim=-1, keepdim=True).sqrt() + eps)"
            )
        },
        "without eps": {" + eps": ""},
        "when the mean runs over the tokens: each token has a size of its own": {"dim=-1": "dim=0"},
        "when all tokens are divided by one number": {"mean(dim=-1, keepdim=True)": "mean()"},
        "without the weight": {"(y * weight)": "y"},
        "when the weight is counted from 1, as Gemma does: (1 + weight)": {"(y * weight)": "(y * (1 + weight))"},
        "with the sum of the squares, not their mean": {"mean(": "sum("},
        "when the root is forgotten": {"torch.rsqrt(": "torch.reciprocal("},
        "when the result is rounded to the type of x before the weight, as Qwen3 and DeepSeek do in transformers": {
            "(y * weight).to(x.dtype)": "(y.to(x.dtype) * weight.to(x.dtype))"
        },
        "when it is all computed in the type of x: in bfloat16 the squares lose their digits": {"x.float()": "x"},
    },
    after="`lmlab/parts/norm.py` does this in both orders: GPT-OSS multiplies by the weight and then rounds, Qwen3 and "
    "DeepSeek round and then multiply. In float32 they are one.",
)
def rms_norm(x, weight, eps):
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + eps)  # (T, C)
    return (y * weight).to(x.dtype)


def _parts(layer: int) -> tuple:
    """Norm, attention, norm and MLP of one layer, as functions of (T, C)."""
    block = model().layers[layer]
    return block.input_layernorm, lambda x: block.self_attn(x[None])[0], block.post_attention_layernorm, block.mlp


def _block(x: torch.Tensor, norm_1, *_) -> torch.Tensor:
    block = next(layer for layer in model().layers if layer.input_layernorm is norm_1)
    return block(x[None], timeline_of(x[None]))[0]


@exercise(
    "01.2",
    "A block adds",
    difficulty=2,
    importance=5,
    minutes=8,
    returns="(T, C), the stream after both parts",
    probes=lambda: [(read().states[0], *_parts(0)), (_random(5, HIDDEN) * 3, *_parts(1))],
    truth=_block,
    hints=(
        "Two steps of the same form: the stream plus what a part makes of the normed stream.",
        "The second part reads the stream with the first part's addition in it.",
        "The norm is for what a part reads. What it is added to is the stream itself, not normed.",
    ),
    mistakes={
        "when each norm stands after its addition, as in the first Transformer: then the stream is scaled anew at "
        "every step, and nothing stays": {
            "x + attention(norm_1(x))": "norm_1(x + attention(x))",
            "x + mlp(norm_2(x))": "norm_2(x + mlp(x))",
        },
        "when the attention reads the stream without its norm": {"attention(norm_1(x))": "attention(x)"},
        "when the MLP reads the stream without its norm": {"mlp(norm_2(x))": "mlp(x)"},
        "when the attention's result is added to its normed input: the stream itself is lost": {
            "x = x + attention": "x = norm_1(x) + attention"
        },
        "when the MLP's result is added to its normed input: the stream itself is lost": {
            "return x + mlp": "return norm_2(x) + mlp"
        },
        "when the MLP does not read what the attention has added (both at once, as in GPT-J)": {
            "x = x + attention(norm_1(x))  # (T, C)\n    return x + mlp(norm_2(x))": (
                "return x + attention(norm_1(x)) + mlp(norm_2(x))"
            )
        },
        "when the attention writes over the stream, and does not add to it": {"x = x + attention": "x = attention"},
        "when the MLP writes over the stream, and does not add to it": {"return x + mlp": "return mlp"},
        "with one norm for both parts: each has its own weight": {"norm_2(x)": "norm_1(x)"},
        "when the two norms have changed places": {
            "attention(norm_1(x))": "attention(norm_2(x))",
            "mlp(norm_2(x))": "mlp(norm_1(x))",
        },
    },
    after="These are the two lines of `Block.forward`. Whatever the parts do, the stream passes by them.",
)
def block(x, norm_1, attention, norm_2, mlp):
    x = x + attention(norm_1(x))  # (T, C)
    return x + mlp(norm_2(x))  # (T, C)


def _lens(token: int, answer: int) -> tuple:
    return read().states[:, token], model().norm, model().lm_head.weight, answer


@exercise(
    "01.3",
    "The logit lens",
    difficulty=2,
    importance=5,
    minutes=8,
    returns="(P,), how probable the answer is at each stop",
    probes=lambda: [_lens(2, 11), _lens(6, 28)],
    truth=lambda states, norm, head, answer: residual.lens(model(), states).softmax(-1)[:, answer],
    hints=(
        "What does a model do after its last layer? The same is done here, to every state.",
        "The final norm, then the head: one logit for each token of the vocabulary.",
        "Softmax over the vocabulary, at each stop by itself; then take the answer's column.",
    ),
    mistakes={
        "when the final norm is forgotten: the head reads normed states": {"norm(states)": "states"},
        "when a state is normed twice: `model.hidden` returns normed states, the stream is not": {
            "norm(states)": "norm(norm(states))"
        },
        "with the softmax over the stops: at each stop the tokens' probabilities must sum to one": {
            "softmax(dim=-1)": "softmax(dim=0)"
        },
        "in logits: the softmax is missing": {".softmax(dim=-1)": ""},
        "in logarithms: probabilities are asked for": {".softmax": ".log_softmax"},
        "with a sigmoid in place of the softmax: tokens exclude each other": {".softmax(dim=-1)": ".sigmoid()"},
        "for the token before: ids count from 0": {"[:, answer]": "[:, answer - 1]"},
    },
    after="At the last stop this is what the model says. At the others it is a reading that nobody trained for: the "
    "head was taught to read the end of the stream.",
)
def answer_probability(states, norm, head, answer):
    logits = norm(states) @ head.T  # (P, V)
    return logits.softmax(dim=-1)[:, answer]  # (P,)
