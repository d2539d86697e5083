"""What a sampler does to the next-token probabilities, what a draft is worth, and what each token costs."""

import math
from collections import Counter
from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch.utils.benchmark import Timer

from lmlab.configuration import ModelConfig
from lmlab.measure import sizes
from lmlab.measure.flops import flops
from lmlab.measure.memory import cache_by_kind, kind
from lmlab.model import LanguageModel
from lmlab.parts.cache import FullCache, ModelCache
from lmlab.parts.moe import MoEConfig

if TYPE_CHECKING:
    import pandas as pd


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Bits: how undecided a distribution is, 0 for one certain token, log2(V) for V equal ones. (..., V) -> (...)"""
    return torch.special.entr(probabilities).sum(-1) / math.log(2)


def candidates(own: torch.Tensor, reshaped: torch.Tensor, number: int, also: int | None = None) -> "pd.DataFrame":
    """The `number` tokens that the model itself finds most probable, by the token's id: columns own and reshaped, the
    probability before and after a sampler. `also`: one more token, if it is not among them. Both (V,)."""
    import pandas as pd

    ids = own.topk(min(number, len(own))).indices.tolist()
    if also is not None and also not in ids:
        ids.append(also)
    columns = {"own": own[ids].tolist(), "reshaped": reshaped[ids].tolist()}
    return pd.DataFrame(columns, index=pd.Index(ids, name="token"))


def acceptance(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """How often a draft drawn from q is accepted by a model that says p: the sum of min(p, q). (..., V) -> (...)

    Leviathan et al., arXiv:2211.17192, section 3."""
    return torch.minimum(p, q).sum(-1)


def drafting(steps: Iterable) -> "pd.Series":
    """How drafts fared in steps of `generate` or of a session, one row each: tokens, passes of the model that wrote
    them, drafts, accepted, and promised, the number that p and q let expect; seconds that the steps took to come, of
    interest where they are still to be written. Sums of several texts are those of all."""
    import pandas as pd

    start = perf_counter()
    steps = list(steps)
    seconds = perf_counter() - start
    judged = [step for step in steps if step.draft is not None]
    accepted = sum(bool(step.draft.accepted) for step in judged)
    promised = math.fsum(float(acceptance(step.probabilities, step.draft.probabilities)) for step in judged)
    passes = len(steps) - accepted
    return pd.Series(
        {"tokens": len(steps), "passes": passes, "drafts": len(judged), "accepted": accepted, "promised": promised}
        | {"seconds": seconds}
    )


def flops_by_token(config: ModelConfig, prompt: int, new: int) -> "pd.DataFrame":
    """FLOPs of each new token after a prompt of `prompt` tokens, as `generate` computes it and as it would without a
    cache: columns "with a cache", "without a cache"; one row per token, from 1. The head reads one state a token."""
    import pandas as pd

    rows = {
        n: {
            "with a cache": _flops(config, prompt) if n == 1 else _flops(config, 1, prompt + n - 2),
            "without a cache": _flops(config, prompt + n - 1),
        }
        for n in range(1, new + 1)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("new token")


def _flops(config: ModelConfig, tokens: int, context: int = 0) -> int:
    table = flops(config, tokens, context)["flops"]
    return int(table.sum() - table["head"] * (tokens - 1) // tokens)


def seconds_by_token(model: LanguageModel, prompt: list[int], new: int, repeats: int = 5) -> "pd.DataFrame":
    """The same, timed on this machine, in seconds: greedy, one row, the fastest of the repeats, since other work on the
    machine only adds."""
    import pandas as pd

    ways = {"with a cache": True, "without a cache": False}
    runs = {name: [_seconds(model, prompt, new, cached) for _ in range(repeats)] for name, cached in ways.items()}
    columns = {name: [min(times) for times in zip(*found, strict=True)] for name, found in runs.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(1, new + 1, name="new token"))


@torch.inference_mode()
def _seconds(model: LanguageModel, prompt: list[int], new: int, cached: bool) -> list[float]:
    cache = model.make_cache(1, len(prompt) + new) if cached else None
    text = torch.tensor([prompt], device=model.embed_tokens.weight.device)  # (1, T)
    times, unread = [], text
    for _ in range(new):
        start = perf_counter()
        token = model.lm_head(model.hidden(unread, cache)[:, -1:]).argmax(-1)  # (1, 1)
        text = torch.cat((text, token), dim=1)
        unread = token if cached else text
        times.append(perf_counter() - start)
    return times


@torch.inference_mode()
def seconds_of_pass(model: LanguageModel, text: list[int], tokens: list[int]) -> "pd.Series":
    """Seconds of one pass that reads so many tokens of `text` at once, by their number: all passes begin at the same
    place, and what stands before it is cached. The fastest of ten rounds that take turns, since other work on the
    machine only adds. The text should be a real one: equal tokens would choose equal experts."""
    import pandas as pd

    ids = torch.tensor([text], device=model.embed_tokens.weight.device)  # (1, T)
    cache, context = model.make_cache(1, len(text)), len(text) - max(tokens)
    if context < 1:
        raise ValueError(f"a text of {len(text)} tokens leaves none to stand before a pass over {max(tokens)}")
    model.hidden(ids[:, :context], cache)

    def read(number: int) -> None:
        model.lm_head(model.hidden(ids[:, context : context + number], cache))
        for layer in cache.layers:  # a window cannot forget; for the time of a pass it need not
            layer.length -= number

    timers = {n: Timer("read(n)", globals={"read": read, "n": n}) for n in tokens}
    rounds = [{n: timer.timeit(5).mean for n, timer in timers.items()} for _ in range(10)]
    return pd.DataFrame(rounds).min().rename_axis("tokens")


def weights_read(config: ModelConfig, tokens: int) -> float:
    """How many parameters a pass over so many tokens (of all rows together) reads, each once; expected, where each
    token chooses its experts evenly and independently of the others. The embedding's table is looked up, not read.

    An expert is left out by one token with probability 1 - A / E, by N tokens with its N-th power.
    """
    read = float(sizes.active(config, embedding=False))
    for block, layers in Counter(config.blocks).items():
        if isinstance(block.mlp, MoEConfig):
            experts, chosen = block.mlp.num_experts, block.mlp.num_experts_per_tok
            needed = experts * (1 - (1 - chosen / experts) ** tokens)
            one = sizes.count_block(block, config.hidden_size)["experts"] / experts
            read += layers * one * (needed - chosen)
    return read


def fates(steps: Iterable) -> list[tuple[int, str]]:
    """The tokens of steps with drafts, (id, how it came): "drawn", "accepted", and after a "rejected" draft what was
    drawn in its place, "replaced"."""
    found = []
    for step in steps:
        how = "drawn" if step.draft is None else "accepted" if bool(step.draft.accepted) else "replaced"
        if how == "replaced":
            found.append((int(step.draft.token), "rejected"))
        found.append((int(step.token), how))
    return found


def cache_use(model: LanguageModel, cache: ModelCache, drafter: FullCache | None = None) -> "pd.DataFrame":
    """Bytes of a model's cache by kind of layer (full, window, latent): used by the tokens that it holds, and
    allocated. `drafter`: the MTP module's own, as kind "MTP"."""
    import pandas as pd

    dtype = model.embed_tokens.weight.dtype
    used = Counter(cache_by_kind(model.config, int(cache.length), cache.batch_size, dtype))
    allocated = Counter()
    for block, layer in zip(model.config.blocks, cache.layers, strict=True):
        allocated[kind(block.attention)] += layer.nbytes
    if drafter is not None:
        elements = model.config.mtp[0].attention.cache_elements(int(drafter.length))
        used["MTP"], allocated["MTP"] = elements * dtype.itemsize, drafter.nbytes
    return pd.DataFrame({"used": used, "allocated": allocated})
