"""Lesson 10, pretraining: its prediction, and the exercises in its path."""

import math  # noqa: F401  for the mistakes' text

import torch

from lmlab.course.exercises import Prediction, exercise
from lmlab.train.bench import default_tokenizer
from lmlab.train.data import IGNORED, HeldOut
from lmlab.train.objective import _mean
from lmlab.train.recipe import Recipe
from lmlab.train.runs import corpus_floors, floors


def _floor() -> str:
    found = corpus_floors(default_tokenizer())
    return (
        f"Computed: by the choices that wrote 400 held-out texts, {found['all']:.3f} nats per token for whoever knows "
        f"the grammar by heart ({found['story']:.3f} on stories)."
    )


lowest = Prediction(
    number="10.0",
    title="The lowest loss there is",
    question="A model has read our corpus for hours. On texts that it has never seen its loss is 0.40 nats per token. "
    "How far down can more training take it?",
    choices={
        "to 0: a perfect model is never surprised": "Not even who knows the grammar by heart knows which name is next.",
        "to about 0.37": "",
        "to about 0.20": "That is the floor of stories; sums, lists and code must be chosen, too.",
        "nobody can know": "True of text from the web. Here every choice and its probability are known.",
    },
    right="to about 0.37",
    answer=_floor,
)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _batch(rows: int, length: int, size: int, pad: int, seed: int) -> tuple:
    """Logits, and texts of several lengths with padding behind them."""
    ids = torch.randint(0, size, (rows, length), generator=torch.Generator().manual_seed(seed))
    ids = torch.where(ids == pad, (pad + 1) % size, ids)
    for row, real in enumerate(torch.linspace(3, length, rows).long()):
        ids[row, real:] = pad
    return 2 * _random(rows, length, size, seed=seed), ids, pad


def _truth(logits, ids, pad) -> torch.Tensor:
    targets = ids[:, 1:]
    return _mean(logits[:, :-1], targets.masked_fill(targets == pad, IGNORED))


@exercise(
    "10.1",
    "The loss",
    difficulty=2,
    importance=5,
    minutes=8,
    probes=lambda: [_batch(3, 9, 11, pad=0, seed=0), _batch(4, 7, 6, pad=5, seed=1)],
    truth=_truth,
    returns="a number: nats per real target",
    hints=(
        "What stands at place i is to be predicted at place i - 1: logits[:, :-1] belong to ids[:, 1:].",
        "log_softmax over the vocabulary, then gather the target's entry.",
        "Targets that are padding do not count: not in the sum, and not in the number that one divides by.",
    ),
    mistakes={
        "without the shift: each token is asked for itself": {"ids[:, 1:]": "ids[:, :-1]"},
        "when the shift goes the wrong way: each token is asked for the one before it": {
            "ids[:, 1:]": "ids[:, :-1]",
            "logits[:, :-1]": "logits[:, 1:]",
        },
        "when padding counts as text: the loss then falls with every short text in the batch": {"[real]": ""},
        "when padding adds nothing to the sum, but is still counted in the mean": {"picked[real]": "(picked * real)"},
        "when each text has the same weight, however short: the mean of the texts' means": {
            "picked[real].mean()": "((picked * real).sum(1) / real.sum(1)).mean()"
        },
        "when the losses are summed, not averaged": {".mean()": ".sum()"},
        "in bits; nats are asked for": {"picked[real].mean()": "picked[real].mean() / math.log(2)"},
        "with the softmax over the places: each place has probabilities over the vocabulary": {
            "log_softmax(-1)": "log_softmax(1)"
        },
        "when the probabilities are averaged first, and the logarithm comes last": {
            "picked[real].mean()": "picked[real].exp().mean().log()"
        },
        "without the minus sign": {"return -picked": "return picked"},
    },
    after="`Objective` in `lmlab/train/objective.py` does the same, by torch's `cross_entropy`. Averaged over padding, "
    "the same texts in two batches would have two losses.",
)
def loss(logits, ids, pad):
    targets = ids[:, 1:]  # (B, T - 1)
    logp = logits[:, :-1].log_softmax(-1)  # (B, T - 1, V)
    picked = logp.gather(-1, targets[..., None]).squeeze(-1)  # (B, T - 1)
    real = targets != pad  # (B, T - 1)
    return -picked[real].mean()


def _choices(texts: int, most: int, seed: int) -> tuple:
    """Probabilities of each text's choices, 1 behind the last one, and the texts' tokens."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(texts, most, generator=generator) * 0.9 + 0.05
    for row, made in enumerate(torch.linspace(2, most, texts).long()):
        probabilities[row, made:] = 1
    return probabilities, torch.randint(9, 60, (texts,), generator=generator)


def _by_floors(probabilities, tokens) -> float:
    places = torch.arange(int(tokens.max()))
    targets = torch.where(places < tokens[:, None], 1, IGNORED)  # (N, T)
    held = HeldOut(targets, targets, ("text",) * len(tokens), -probabilities.log().sum(1))
    return floors(held)["all"]


@exercise(
    "10.2",
    "The floor",
    difficulty=2,
    importance=5,
    minutes=8,
    probes=lambda: [_choices(3, 8, seed=0), _choices(5, 6, seed=1)],
    truth=_by_floors,
    returns="a number: nats per token, over all texts",
    hints=(
        "A text's probability is the product of those of its choices; its cost is minus the logarithm of that.",
        "The logarithm of a product is a sum: -sum of log p, for each text. A choice of probability 1 costs nothing.",
        "Add up the nats of all texts, and divide by the tokens of all texts.",
    ),
    mistakes={
        "in bits; nats are asked for": {"probabilities.log()": "probabilities.log2()"},
        "when each text has the same weight, however short: nats of all over tokens of all is asked for": {
            "nats.sum() / tokens.sum()": "(nats / tokens).mean()"
        },
        "per text, not per token": {"tokens.sum()": "len(tokens)"},
        "per choice, not per token: most tokens are no choice, and cost nothing": {
            "tokens.sum()": "(probabilities < 1).sum()"
        },
        "when the choices' probabilities are averaged before the logarithm": {
            "probabilities.log().sum(dim=1)": "probabilities.mean(dim=1).log()"
        },
        "when each choice is weighed by its probability, as in an entropy: drawing the texts has done this already": {
            "probabilities.log()": "(probabilities * probabilities.log())"
        },
        "without the first choice, of the kind of text: a reader does not know it either": {
            "probabilities.log()": "probabilities[:, 1:].log()"
        },
        "without the minus sign": {"nats = -": "nats = "},
    },
    after="`floors` in `lmlab/train/runs.py`, with the texts' own `logprob`. On a sample a model can lie a little "
    "below, by luck; in the long run never.",
)
def floor(probabilities, tokens):
    nats = -probabilities.log().sum(dim=1)  # (N,)
    return nats.sum() / tokens.sum()


@exercise(
    "10.3",
    "Warm up, stay, decay",
    difficulty=2,
    importance=4,
    minutes=8,
    probes=lambda: [(step, 100, 0.1, 0.4) for step in (0, 4, 9, 10, 37, 59, 60, 61, 80, 99)] + [(3, 30, 0.2, 0.5)],
    truth=lambda step, steps, warmup, decay: Recipe(
        tokens=steps, batch_size=1, length=1, warmup_ratio=warmup, decay_ratio=decay
    ).rate(step),
    returns="a number from 0 to 1",
    hints=(
        "With w steps of warm-up, the first step has the share 1 / (w + 1), the next 2 / (w + 1): never 0, and 1 comes "
        "with the first step behind them.",
        "The decay is the mirror image at the end: with d steps of decay, the last step has 1 / (d + 1).",
        "Compute both ramps for every step, and take the smallest of up, 1 and down.",
    ),
    mistakes={
        "when the rate is not warmed up": {"min(up, 1.0, down)": "min(1.0, down)"},
        "when the rate never decays": {"min(up, 1.0, down)": "min(up, 1.0)"},
        "when the warm-up begins at 0: the first step would learn nothing": {
            "(step + 1) / (rising + 1)": "step / rising"
        },
        "when the warm-up is over a step early": {"(step + 1) / (rising + 1)": "(step + 1) / rising"},
        "when the decay begins after that share of the steps; it is the last share": {
            "round(decay * steps)": "round((1 - decay) * steps)"
        },
        "when the last step has the rate 0 and learns nothing": {
            "(steps - step) / (falling + 1)": "(steps - step - 1) / falling"
        },
        "when the rate falls from the end of the warm-up on: there is no stable part": {
            "(steps - step) / (falling + 1)": "(steps - step) / (steps - rising + 1)"
        },
        "with a cosine for the decay: a straight line is asked for": {
            "min(up, 1.0, down)": "min(up, 0.5 - 0.5 * math.cos(math.pi * min(1.0, down)))"
        },
    },
    after="`Recipe.rate` in `lmlab/train/recipe.py` (arXiv:2405.18392). In the stable part one can "
    "decide to go on; most of the fall of the loss comes with the decay.",
)
def rate(step, steps, warmup, decay):
    rising, falling = round(warmup * steps), round(decay * steps)
    up = (step + 1) / (rising + 1)
    down = (steps - step) / (falling + 1)
    return min(up, 1.0, down)
