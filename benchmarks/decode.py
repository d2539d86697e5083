"""Tokens per second of greedy decoding, batch 1: eager, and as one compiled step."""

from functools import partial

import torch
import transformers

import lmlab
from benchmarks.pairs import expert_paths, shipped_pair
from benchmarks.timing import Row, alternating
from lmlab.families import MINIATURES
from lmlab.model import LanguageModel

PROMPT, NEW = 8, 248  # 256 together, what the miniatures were trained on


def rows(repeats: int = 5, new: int = NEW, names: tuple[str, ...] = MINIATURES, compiled: bool = True) -> list[Row]:
    return [row for name in names for row in _rows(name, repeats, new, compiled)]


def _rows(name: str, repeats: int, new: int, compiled: bool) -> list[Row]:
    model, theirs = shipped_pair(name)
    ids = torch.randint(0, model.config.vocab_size, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    runs = {"eager": partial(ours, model, ids, new), "transformers": partial(generated, theirs, ids, new)}
    best = _best_experts(theirs, runs["transformers"])
    assert runs["eager"]() == runs["transformers"](), f"{name}: the two write different tokens"
    if compiled:
        runs["compiled"] = partial(ours, model, ids, new, compile=True)
        assert runs["compiled"]() == runs["eager"](), f"{name}: compiling changes the tokens"
        static = {"cache_implementation": "static", "compile_config": compile_on_any_device()}
        runs["transformers compiled"] = partial(generated, theirs, ids, new, **static)
    times = alternating(runs, repeats)
    speed = {side: f"{new / time:.0f} tok/s" for side, time in times.items()}
    plain = f"{speed['transformers']} ({best})"
    found = [Row(f"decode {name}, eager", speed["eager"], plain, times["transformers"] / times["eager"], "3")]
    if compiled:
        goal, ratio = "7" if name == "mini-deepseek-v3" else "10", times["transformers"] / times["compiled"]
        found.append(Row(f"decode {name}, compiled", speed["compiled"], plain, ratio, goal))
        static, ratio = speed["transformers compiled"], times["transformers compiled"] / times["compiled"]
        found.append(Row(f"decode {name}, both compiled", speed["compiled"], static, ratio, "2.5"))
    return found


def ours(model: LanguageModel, ids: torch.Tensor, new: int, **options) -> list[int]:
    return [int(step.token) for step in lmlab.generate(model, ids, max_new_tokens=new, **options)]


def generated(theirs: transformers.PreTrainedModel, ids: torch.Tensor, new: int, **options) -> list[int]:
    mask = torch.ones_like(ids)  # without it, ids that equal the padding id would be taken for padding
    end = {"eos_token_id": None, "pad_token_id": 0}  # both sides write on after the end of a text
    both = theirs.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False, **end, **options)
    return both[0, ids.shape[1] :].tolist()


def _best_experts(theirs: transformers.PreTrainedModel, run) -> str:
    """transformers' fastest way to compute the experts, and sets it."""

    def tried(way: str) -> None:
        theirs.set_experts_implementation(way)
        run()

    ways = expert_paths(theirs)
    if len(ways) > 1:
        times = alternating({way: partial(tried, way) for way in ways}, repeats=1)
        ways = [min(times, key=times.get)]
        theirs.set_experts_implementation(ways[0])
    return ways[0]


def compile_on_any_device() -> transformers.CompileConfig:
    """transformers compiles its static-cache step on a GPU only, unless told."""
    config = transformers.CompileConfig(fullgraph=False, mode=None)
    config._compile_all_devices = True
    return config
