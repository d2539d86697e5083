"""What a trained miniature can do: recall facts, add numbers it was never shown, tell stories that hold together.

Greedy answers are read from one forward pass: greedy decoding writes an answer exactly when each of its tokens is the
most probable one after the text before it.
"""

import random
import re
from collections.abc import Iterable
from itertools import islice

import torch

from lmlab.generation import write
from lmlab.model import LanguageModel
from lmlab.sampling import Sampler
from lmlab.text.corpus import DOMAINS, documents
from lmlab.text.derivation import read
from lmlab.text.domains import DOMAIN_LEXICON, kept_out
from lmlab.text.tokenizer import Tokenizer

Span = tuple[int, int]  # the characters from, up to and without
OPENINGS = ("Once", "This", "In")  # how a story begins, and no other text of the corpus; each as often
ROWS = 64  # texts read at a time


@torch.inference_mode()
def answers(model: LanguageModel, tokenizer: Tokenizer, asked: Iterable[tuple[str, Span]]) -> list[bool]:
    """For each text and the span of an answer in it: does greedy decoding write that answer there?"""
    found, asked = [], iter(asked)
    while rows := list(islice(asked, ROWS)):
        read_rows, places = [], []
        for text, (start, end) in rows:
            encoding = tokenizer.inner.encode(text)
            read_rows.append([tokenizer.end, *encoding.ids])
            places.append([i for i, (a, b) in enumerate(encoding.offsets, start=1) if a < end and b > start])
        longest = max(map(len, read_rows))
        padded = [row + [tokenizer.pad] * (longest - len(row)) for row in read_rows]
        ids = torch.tensor(padded, device=model.embed_tokens.weight.device)  # (B, T)
        best = model(ids)[:, :-1].argmax(-1) == ids[:, 1:]  # (B, T - 1): the token after each is the best one
        found += [bool(best[i, torch.tensor(place) - 1].all()) for i, place in enumerate(places)]
    return found


def questions(tokenizer: Tokenizer, number: int, beyond: int) -> list[tuple[str, Span]]:
    """Recall texts that no training seed writes, up to a question whose fact was stated `beyond` tokens or more before
    its answer, and the answer's span. A question that was answered before is left out: its answer stands close by."""
    found: list[tuple[str, Span]] = []
    for document in documents("reasoning", seed=-2):
        if document.domain != "recall":
            continue
        text, offsets = document.text, tokenizer.inner.encode(document.text).offsets
        answered = set()
        for asked in re.finditer(r" (?:What color is|Where is) the (\w+)\? ([A-Z][^.?]*)\.", text):
            fact = re.search(rf" The {asked[1]} is [^.]*\.", text)
            tokens = sum(fact.end() <= start < asked.start(2) for start, _ in offsets)
            question = asked[0].partition("?")[0]
            if tokens >= beyond and question not in answered:
                found.append((text[: asked.end()], asked.span(2)))
            answered.add(question)
        if len(found) >= number:
            return found[:number]
    raise AssertionError("documents() has no end")


def recall(model: LanguageModel, tokenizer: Tokenizer, number: int = 500, beyond: int = 100) -> float:
    """The share of questions about facts stated `beyond` tokens or more earlier that greedy decoding answers right."""
    hits = answers(model, tokenizer, questions(tokenizer, number, beyond))
    return sum(hits) / len(hits)


def addition(model: LanguageModel, tokenizer: Tokenizer, by_digits: bool = False) -> float:
    """The share of all two-digit pairs kept out of training whose sum greedy decoding writes: at once, or (by_digits)
    with every step of the written way right, too."""
    asked = []
    for a in range(10, 100):
        for b in range(10, 100):
            if kept_out(a, b):
                start, end = _by_digits(a, b) if by_digits else (f"Add. {a} + {b} =", f" {a + b}.")
                asked.append((start + end, (len(start), len(start + end))))
    hits = answers(model, tokenizer, asked)
    return sum(hits) / len(hits)


def _by_digits(a: int, b: int) -> tuple[str, str]:
    ones = a % 10 + b % 10
    steps = f" {a % 10} + {b % 10} = {ones}, {a // 10} + {b // 10} + {ones // 10} = {(a + b) // 10}, so {a + b}."
    return f"Add digit by digit. {a} + {b}:", steps


def stories(
    model: LanguageModel,
    tokenizer: Tokenizer,
    number: int = 100,
    seed: int = 0,
    max_new_tokens: int = 300,
    sampler: Sampler = Sampler(),  # noqa: B008 (it never changes)
) -> list[tuple[str, bool]]:
    """`number` sampled stories (temperature 1), each with whether the grammar reads it: every sentence well formed, and
    every later mention true to what the story said before."""
    openings = random.Random(seed).choices(OPENINGS, k=number)
    prompts = [[tokenizer.end, *tokenizer.encode(opening)] for opening in openings]
    generator = torch.Generator(model.embed_tokens.weight.device).manual_seed(seed)
    how = {"max_new_tokens": max_new_tokens, "sampler": sampler, "generator": generator}
    written = write(model, prompts, eos_token_id=tokenizer.end, **how)
    texts = [tokenizer.decode(prompt[1:] + ids) for prompt, ids in zip(prompts, written, strict=True)]
    return [(text, read(DOMAINS["story"], DOMAIN_LEXICON, text) is not None) for text in texts]
