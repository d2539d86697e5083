"""Tokens per second of greedy decoding, batch 1: eager, and as one compiled step."""

import torch
import transformers

import lmlab
from benchmarks.pairs import MINIATURES, expert_paths, pair
from benchmarks.timing import Row, alternating
from lmlab.model import LanguageModel

PROMPT, NEW = 8, 256


def rows(repeats: int = 5, new: int = NEW, names: tuple[str, ...] = MINIATURES, compiled: bool = True) -> list[Row]:
    return [row for name in names for row in _rows(name, repeats, new, compiled)]


def _rows(name: str, repeats: int, new: int, compiled: bool) -> list[Row]:
    model, theirs = pair(name)
    ids = torch.randint(0, model.config.vocab_size, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}

    def transformers_generate(**more) -> list[int]:
        return theirs.generate(ids, attention_mask=torch.ones_like(ids), **options, **more)[0, PROMPT:].tolist()

    def lmlab_generate() -> list[int]:
        return [int(step.token) for step in lmlab.generate(model, ids, max_new_tokens=new)]

    ways = expert_paths(theirs)
    best = ways[0]
    if len(ways) > 1:
        tried = alternating({way: lambda way=way: _with(theirs, way, transformers_generate) for way in ways}, repeats=1)
        best = min(tried, key=tried.get)
        theirs.set_experts_implementation(best)
    assert lmlab_generate() == transformers_generate(), f"{name}: the two write different tokens"
    runs = {"eager": lmlab_generate, "transformers": transformers_generate}
    if compiled:
        step = torch.compile(lambda token, cache: model(token, cache), fullgraph=True, dynamic=False)
        runs["compiled"] = lambda: compiled_decode(model, step, ids, new)
        assert runs["compiled"]() == lmlab_generate(), f"{name}: compiling changes the tokens"
        static = {"cache_implementation": "static", "compile_config": compile_on_any_device()}
        runs["transformers compiled"] = lambda: transformers_generate(**static)
    times = alternating(runs, repeats)
    speed = {side: f"{new / time:.0f} tok/s" for side, time in times.items()}
    slow = times["transformers"]
    found = [
        Row(f"decode {name}, eager", speed["eager"], f"{speed['transformers']} ({best})", slow / times["eager"], "3")
    ]
    if compiled:
        goal = "7" if name == "mini-deepseek-v3" else "10"
        found.append(
            Row(f"decode {name}, compiled", speed["compiled"], speed["transformers"], slow / times["compiled"], goal)
        )
        other = times["transformers compiled"] / times["compiled"]
        found.append(
            Row(f"decode {name}, both compiled", speed["compiled"], speed["transformers compiled"], other, "2.5")
        )
    return found


def _with(theirs, way: str, run) -> None:
    theirs.set_experts_implementation(way)
    run()


def compile_on_any_device() -> transformers.CompileConfig:
    """transformers compiles its static-cache step on a GPU only, unless told."""
    config = transformers.CompileConfig(fullgraph=False, mode=None)
    config._compile_all_devices = True
    return config


@torch.inference_mode()
def compiled_decode(model: LanguageModel, step, ids: torch.Tensor, new: int) -> list[int]:
    """Greedy decoding in which every token after the prompt is one call of the compiled step."""
    cache = model.make_cache(1, ids.shape[1] + new)
    token = model(ids, cache)[:, -1:].argmax(-1)
    tokens = [token]
    for _ in range(new - 1):
        token = step(token, cache)[:, -1:].argmax(-1)
        tokens.append(token)
    return torch.cat(tokens, dim=1)[0].tolist()
