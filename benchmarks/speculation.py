"""Speculative decoding with the MTP module: how many drafts are kept, and how much faster the text is written."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch

import lmlab
from benchmarks.pairs import random_model, shipped
from benchmarks.timing import Row, alternating
from lmlab.generation import Step
from lmlab.model import LanguageModel
from lmlab.sampling import Greedy, Sampler
from lmlab.text.corpus import documents

NAME = "mini-deepseek-v3"
TEXTS, PROMPT, NEW = 20, 24, 96
SEED = 2_000_000  # documents of no training run
SAMPLERS = {"greedy": Greedy(), "temperature 1": Sampler()}


def rows(repeats: int = 5, texts: int = TEXTS, new: int = NEW, name: str = NAME, compiled: bool = True) -> list[Row]:
    folder = shipped(name)
    model = random_model(name) if folder is None else lmlab.load(folder, dtype=torch.float32)
    prompts = list(islice(corpus_prompts(name), texts)) if folder else [[1 + i] * PROMPT for i in range(texts)]
    found = []
    for how, sampler in SAMPLERS.items():
        drafts = [step.draft for step in steps(model, prompts, new, sampler, speculative=True) if step.draft]
        kept = sum(draft.accepted for draft in drafts) / len(drafts)
        counted = f"{sum(draft.accepted for draft in drafts)} of {len(drafts)} drafts"
        found.append(Row(f"drafts kept, {how}", counted, "0.85 to 0.90 in DeepSeek-V3", kept, "0.85"))
    for compile in (False, True)[: 1 + compiled]:
        for how, sampler in SAMPLERS.items():
            found.append(_speed(model, prompts, new, repeats, how, sampler, compile))
    return found


def _speed(model, prompts, new: int, repeats: int, how: str, sampler: Greedy | Sampler, compile: bool) -> Row:
    def write(speculative: bool) -> None:
        for _ in steps(model, prompts, new, sampler, speculative=speculative, compile=compile):
            pass

    times = alternating({"drafts": partial(write, True), "alone": partial(write, False)}, repeats)
    speed = {side: f"{len(prompts) * new / time:.0f} tok/s" for side, time in times.items()}
    what = f"speculative, {'compiled' if compile else 'eager'}, {how}"
    return Row(what, speed["drafts"], f"{speed['alone']} alone", times["alone"] / times["drafts"], "1.3")


def steps(model: LanguageModel, prompts: list[list[int]], new: int, sampler, **options) -> Iterator[Step]:
    generator = torch.Generator().manual_seed(0)
    for ids in prompts:
        yield from lmlab.generate(model, ids, max_new_tokens=new, sampler=sampler, generator=generator, **options)


def corpus_prompts(name: str) -> Iterator[list[int]]:
    """The beginnings of documents that no model has seen."""
    tokenizer = lmlab.tokenizer(name)
    for document in documents(seed=SEED):
        ids = tokenizer.encode(document.text)
        if len(ids) >= PROMPT:
            yield [tokenizer.end, *ids[: PROMPT - 1]]
