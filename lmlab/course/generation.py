"""Lesson 09, generation: its prediction, and the exercises in its path."""

import torch

import lmlab.families
from lmlab.course.exercises import Prediction, exercise
from lmlab.measure.generation import flops_by_token
from lmlab.sampling import Sampler
from lmlab.speculation import neglected

PROMPT = 1000


def _second() -> str:
    first, second = flops_by_token(lmlab.families.config("qwen3-8b"), PROMPT, 2)["with a cache"]
    return (
        f"Computed: {first / 1e12:.1f} TFLOP for the first token, {second / 1e12:.4f} for the second, "
        f"{first / second:,.0f} times fewer."
    )


second = Prediction(
    number="09.0",
    title="The second token",
    question="Qwen3-8B reads a prompt of 1,000 tokens and writes. The first token it writes needs some amount of "
    "arithmetic. And the second?",
    choices={
        "A little more: the text is one token longer": "That is so if nothing was kept of the first pass.",
        "As much: each token is one pass through the model": "One pass, but how many tokens go through it?",
        "Half as much": "A pass costs by the token that it reads. Count those that are new.",
        "About 900 times less": "",
    },
    right="About 900 times less",
    answer=_second,
)


def _logits(seed: int, number: int) -> torch.Tensor:
    return 3 * torch.randn(number, generator=torch.Generator().manual_seed(seed))


@exercise(
    "09.1",
    "Temperature",
    difficulty=1,
    importance=5,
    minutes=5,
    returns="(V,), probabilities",
    probes=lambda: [(_logits(0, 7), 0.5), (_logits(1, 9), 2.0)],
    truth=lambda logits, temperature: Sampler(temperature=temperature).probabilities(logits[None])[0],
    hints=(
        "Temperature is for the logits. Which operation makes probabilities of them?",
        "Below 1 it must widen the gaps between logits, above 1 narrow them.",
        "Divide first, then take the softmax.",
    ),
    mistakes={
        "with the temperature after the softmax: the numbers no longer sum to one": {
            "logits / temperature": "logits",
            "scaled.softmax(dim=-1)": "scaled.softmax(dim=-1) / temperature",
        },
        "without the temperature, or when it divides probabilities that are normalised again, which undoes it": {
            "logits / temperature": "logits"
        },
        "when logits are multiplied by the temperature: above 1 it must flatten": {
            "logits / temperature": "logits * temperature"
        },
        "without normalising: exponentials alone do not sum to one": {"scaled.softmax(dim=-1)": "scaled.exp()"},
        "with logarithms of the probabilities": {"scaled.softmax(dim=-1)": "scaled.log_softmax(dim=-1)"},
        "when scaled logits are divided by their sum: softmax takes exponentials first": {
            "scaled.softmax(dim=-1)": "scaled / scaled.sum()"
        },
    },
    after="The ratio of two probabilities, p/q, becomes (p/q)^(1/T): the order never changes. The real one is in "
    "the first line of `Sampler.probabilities`.",
)
def at_temperature(logits, temperature):
    scaled = logits / temperature
    return scaled.softmax(dim=-1)


@exercise(
    "09.2",
    "Top-p",
    difficulty=3,
    importance=4,
    minutes=12,
    returns="(V,), probabilities in the order of p",
    probes=lambda: [
        (torch.tensor([0.06, 0.32, 0.04, 0.18, 0.25, 0.05, 0.10]), 0.8),
        (torch.tensor([0.12, 0.08, 0.45, 0.02, 0.33]), 0.6),
    ],
    truth=lambda p, threshold: Sampler(top_p=threshold).probabilities(p.log()[None])[0],
    hints=(
        "Sort from the most probable down: p.sort(descending=True) gives the values and where each came from.",
        "A token stays while those before it hold less than the threshold: the one that crosses the line stays, too.",
        "Drop the others, divide by what is left, and put each value back where it came from.",
    ),
    mistakes={
        "when the token that crosses the line is dropped: what stays must hold at least the threshold": {
            "(before < threshold)": "(before + ordered <= threshold)"
        },
        "when the least probable tokens are kept": {"descending=True": "descending=False"},
        "when each token is held against 1 - threshold by itself: the line goes through their running sum": {
            "(before < threshold)": "(ordered > 1 - threshold)"
        },
        "without dividing by what is left: the numbers sum to less than one": {"kept / kept.sum()": "kept"},
        "in sorted order: each value belongs where its token stands": {
            "torch.zeros_like(p).index_copy(0, order, kept)": "kept"
        },
        "when the values are put back the wrong way around: order says where each came from": {
            "torch.zeros_like(p).index_copy(0, order, kept)": "kept[order]"
        },
    },
    after="Where the model is sure, one token may be all that is left; where it is not, hundreds are. That is why the "
    "line goes through the sum. The real one is in `Sampler.probabilities`.",
)
def top_p(p, threshold):
    ordered, order = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered  # what more probable tokens hold
    kept = ordered * (before < threshold)
    kept = kept / kept.sum()
    return torch.zeros_like(p).index_copy(0, order, kept)


def _judged(p: torch.Tensor, q: torch.Tensor, draft: int) -> torch.Tensor:
    accept = min(1.0, float(p[draft] / q[draft]))
    return (1 - accept) * neglected(p, q) + accept * torch.nn.functional.one_hot(torch.tensor(draft), len(p))


@exercise(
    "09.3",
    "A draft, accepted or replaced",
    difficulty=3,
    importance=5,
    minutes=12,
    returns="(V,), how probable each token is to be written",
    probes=lambda: [
        (torch.tensor([0.5, 0.2, 0.25, 0.05]), torch.tensor([0.1, 0.55, 0.2, 0.15]), 1),
        (torch.tensor([0.1, 0.3, 0.15, 0.25, 0.2]), torch.tensor([0.2, 0.1, 0.35, 0.3, 0.05]), 2),
        (torch.tensor([0.35, 0.1, 0.25, 0.1, 0.15, 0.05]), torch.tensor([0.2, 0.2, 0.1, 0.3, 0.1, 0.1]), 0),
    ],
    truth=_judged,
    hints=(
        "The draft is accepted with the probability min(1, p/q), taken at the draft.",
        "If it is rejected, a token is drawn from what p has more than q: the positive part of p - q, made to sum to "
        "one.",
        "Two ways lead to a token: it is the accepted draft, or it is drawn after a rejection. Add them.",
    ),
    mistakes={
        "without the residual distribution: drawn from p again after a rejection, what the guesser likes comes too "
        "often": {"(p - q).clamp(min=0)": "p"},
        "when after a rejection only the draft is left out: other tokens that q has too much of come too often": {
            "(p - q).clamp(min=0)": "p.index_fill(0, torch.tensor(draft), 0.0)"
        },
        "with the positive part of q - p: what is missing is what p has more": {
            "(p - q).clamp(min=0)": "(q - p).clamp(min=0)"
        },
        "with the size of p - q: only where p has more is something missing": {"(p - q).clamp(min=0)": "(p - q).abs()"},
        "when the residual does not sum to one": {" / rest.sum()": ""},
        "with q/p for p/q: a draft that the model likes more than the guesser must stay": {
            "(p[draft] / q[draft])": "(q[draft] / p[draft])"
        },
        "when the draft is accepted with the probability p alone: q has drawn it already": {
            "(p[draft] / q[draft])": "p[draft]"
        },
        "when only the most probable token is accepted": {
            "(p[draft] / q[draft])": "torch.tensor(float(p.argmax() == draft))"
        },
        "without the limit of 1: a probability larger than one": {".clamp(max=1)": ""},
    },
    after="Average it over the drafts that q makes, and p comes out, whatever q is: a bad guesser costs time, never "
    "quality. lmlab's own is in `lmlab/speculation.py`.",
)
def judged(p, q, draft):
    accept = (p[draft] / q[draft]).clamp(max=1)
    rest = (p - q).clamp(min=0)
    written = (1 - accept) * rest / rest.sum()
    written[draft] += accept
    return written
