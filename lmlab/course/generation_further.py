"""Lesson 09, generation: the exercises under "Going further"."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch

import lmlab.families
from lmlab.course.exercises import exercise
from lmlab.generation import generate
from lmlab.model import LanguageModel, build
from lmlab.parts.cache import WindowCache
from lmlab.parts.core import FusedAttention
from lmlab.parts.masks import attention_mask
from lmlab.sampling import Sampler


@cache
def _model() -> LanguageModel:
    """A small model whose random weights are large enough to have opinions."""
    config = lmlab.families.config("mini-qwen3")
    config = replace(config, vocab_size=31, blocks=config.blocks[:2], initializer_range=0.15)
    return build(config, generator=torch.Generator().manual_seed(2)).eval().requires_grad_(False)


def _start() -> tuple[Callable, Callable]:
    """A new cache, and what can be done with it: read(tokens), trim(n)."""
    model = _model()
    held = model.make_cache(1, 64)

    def read(tokens) -> list[int]:
        with torch.inference_mode():
            return model(torch.as_tensor(tokens)[None], held)[0].argmax(-1).tolist()

    return read, held.trim


def _propose(text) -> int:
    """Right about half of the time."""
    with torch.inference_mode():
        right = int(_model()(torch.as_tensor(text)[None])[0, -1].argmax())
    return right if sum(map(int, text)) % 2 else (right + 1 + len(text)) % 31


def _passes(function: Callable, probe: tuple) -> int:
    made, (start, *rest) = [], probe

    def counting():
        read, trim = start()
        return lambda tokens: made.append(1) or read(tokens), trim

    function(counting, *rest)
    return len(made)


def _saves_passes(mine: Callable, probe: tuple) -> str:
    passes, enough = _passes(mine, probe), _passes(write.solution, probe)
    if passes <= enough:
        return ""
    return (
        f"The text is right, but the model has read {passes} times, where {enough} are enough: read the last token and "
        f"its draft together, and after an accepted draft write what follows it, too."
    )


@exercise(
    "09.4",
    "Write with drafts",
    difficulty=4,
    importance=4,
    minutes=15,
    returns="count token ids",
    probes=lambda: [(_start, _propose, torch.tensor([3, 14, 15]), 20), (_start, _propose, torch.tensor([9, 2]), 11)],
    truth=lambda _, propose, prompt, count: [
        int(step.token) for step in generate(_model(), prompt, max_new_tokens=count)
    ],
    hints=(
        "Read the prompt, and write the last token of what read returns. That one the model has not read yet.",
        "Then, again and again: draft = propose(text), and verdict, bonus = read([text[-1], draft]).",
        "Write the verdict. If it is the draft, write the bonus. If not, the cache still holds the draft: trim(1).",
    ),
    mistakes={
        "when the cache is not trimmed after a rejection: the model goes on reading the rejected draft": {
            "trim(1)": "None"
        },
        "when the draft is written whatever the verdict": {"text.append(verdict)": "text.append(draft)"},
        "when what follows a rejected draft is written, too": {"trim(1)": "trim(1), text.append(bonus)"},
        "when both tokens are forgotten after a rejection: the first of them is part of the text": {
            "trim(1)": "trim(2)"
        },
        "when the cache is trimmed after an acceptance, not after a rejection": {
            "text.append(bonus)": "text.append(bonus), trim(1)",
            "        trim(1)": "        None",
        },
        "when the draft is read before the last token": {"[text[-1], draft]": "[draft, text[-1]]"},
    },
    demands=_saves_passes,
    after="The same text as without drafts, in fewer passes. A window that has overwritten a key for a draft cannot be "
    "trimmed: `make_cache(..., slack=1)` keeps one place more.",
)
def write(start, propose, prompt, count):
    read, trim = start()
    text = prompt.tolist()
    text.append(read(text)[-1])
    while len(text) < len(prompt) + count:
        draft = propose(text)
        verdict, bonus = read([text[-1], draft])
        text.append(verdict)
        if verdict == draft:
            text.append(bonus)
        else:
            trim(1)
    return text[len(prompt) :][:count]


def _head(seed: int, tokens: int, window: int, width: int, length: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, tokens, width, generator=generator)
    ring_k, ring_v = torch.randn(2, window, width, generator=generator)
    held = torch.tensor([max(c for c in range(length) if c % window == place) for place in range(window)])
    return q, k, v, ring_k, ring_v, held


def _slide(q, k, v, ring_k, ring_v, held) -> torch.Tensor:
    """lmlab's own ring, filled by hand."""
    window, width = ring_k.shape
    kept = WindowCache(1, 1, window, width, q.dtype, "cpu")
    for buffer, values in zip(kept.buffers, (ring_k, ring_v), strict=True):
        buffer.copy_(values)
    kept.length.fill_(int(held.max()) + 1)
    new = kept.length + torch.arange(len(q))
    mask = attention_mask(new, kept.key_columns(new), window)
    keys, values = kept.update(k[None, None], v[None, None])
    out, _ = FusedAttention(width**-0.5)(q[None, None], keys, values, mask)
    return out[0, 0]


@exercise(
    "09.5",
    "A window is a ring",
    difficulty=4,
    importance=3,
    minutes=12,
    returns="(T, D), the weighted sums of the values",
    probes=lambda: [_head(0, 3, 5, 6, 12), _head(1, 4, 4, 8, 7)],
    truth=_slide,
    hints=(
        "The chunk's own columns follow the newest that the ring holds: held.max() + 1, and so on.",
        "Attend over the ring and the chunk together; write afterwards. In which order keys stand does not matter, as "
        "long as each column is known.",
        "Query i sees the columns j with i - W < j <= i, where W is the number of places.",
    ),
    mistakes={
        "when the ring is written before it is read: early queries of the chunk lose keys that late ones displace": {
            "torch.cat((held, new))": "held.index_copy(0, new % len(held), new)",
            "torch.cat((ring_k, k)), torch.cat((ring_v, v))": "("
            "ring_k.index_copy(0, new % len(held), k), ring_v.index_copy(0, new % len(held), v))",
        },
        "when the window does not slide within the chunk: every query sees the whole ring": {
            " & (columns > new[:, None] - len(held))": ""
        },
        "with one key too many: the window counts the query itself": {
            "(columns > new[:, None] - len(held))": "(columns >= new[:, None] - len(held))"
        },
        "when a query sees later tokens of its chunk": {"(columns <= new[:, None])": "(columns <= new[-1])"},
        "when the ring is taken to begin with its oldest token": {
            "torch.cat((held, new))": "torch.cat((held.sort().values, new))"
        },
        "without the scale": {" / q.shape[-1] ** 0.5": ""},
    },
    after="`WindowCache.update` gives back the old ring and the chunk, and writes afterwards. A single token it writes "
    "first: what that displaces has just left its window.",
)
def slide(q, k, v, ring_k, ring_v, held):
    new = held.max() + 1 + torch.arange(len(q))  # (T,)
    columns = torch.cat((held, new))  # (W + T,)
    keys, values = torch.cat((ring_k, k)), torch.cat((ring_v, v))
    seen = (columns <= new[:, None]) & (columns > new[:, None] - len(held))  # (T, W + T)
    scores = q @ keys.T / q.shape[-1] ** 0.5
    return scores.masked_fill(~seen, -math.inf).softmax(dim=-1) @ values


@exercise(
    "09.6",
    "Min-p",
    difficulty=1,
    importance=2,
    minutes=5,
    returns="(V,), probabilities",
    probes=lambda: [
        (torch.tensor([0.06, 0.42, 0.07, 0.18, 0.15, 0.01, 0.11]), 0.15),
        (torch.tensor([0.22, 0.08, 0.35, 0.03, 0.32]), 0.3),
    ],
    truth=lambda p, share: Sampler(min_p=share).probabilities(p.log()[None])[0],
    hints=(
        "The line is drawn at a share of the largest probability.",
        "Drop what lies below, and divide by what is left.",
    ),
    mistakes={
        "with the share itself as the line: it is a share of the largest probability": {"share * p.max()": "share"},
        "with a share of the mean": {"share * p.max()": "share * p.mean()"},
        "without dividing by what is left: the numbers sum to less than one": {"kept / kept.sum()": "kept"},
        "when tokens below the line are lifted to it, not dropped": {"p * (p >= floor)": "p.clamp(min=floor)"},
        "when the tokens above the line are dropped": {"(p >= floor)": "(p < floor)"},
    },
    after="Like top-p, it cuts little where the model is undecided and much where it is sure, and needs no sorting.",
)
def min_p(p, share):
    floor = share * p.max()
    kept = p * (p >= floor)
    return kept / kept.sum()
