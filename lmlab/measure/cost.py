"""What a model costs on a device: does it fit, and how many tokens a second can it write and read at most.

The roofline (Williams, Waterman and Patterson, "Roofline", 2009): a pass moves bytes and does arithmetic, both at once;
it takes at least as long as the slower of the two. What is counted, each byte once a pass:

weights  all that the pass uses: of the embedding a row for each token, of the experts those that some token chose
cache    keys and values (or latents) of every token, those of this pass included
Activations, the talk between devices and the time to start a kernel are not: a real program is slower, none is faster.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lmlab.configuration import ModelConfig
from lmlab.measure import flops, memory, sizes
from lmlab.measure.devices import Device
from lmlab.parts.moe import MoEConfig

if TYPE_CHECKING:
    import pandas as pd

# products that FP8 weights do in FP8 where the device can; scores, router and head stay in two bytes, as in
# DeepSeek-V3 (arXiv:2412.19437, section 3.3)
IN_FP8 = ("projections", "dense mlp", "experts", "shared experts")


def touched(experts: int, chosen: int, tokens: int) -> float:
    """How many of a layer's experts at least one of `tokens` tokens chooses, on average, IF each token chooses `chosen`
    different ones, all alike probable, and independently of the others: E (1 - (1 - A/E)^N). A real router's tokens
    choose alike, so that fewer are touched. 128 experts, 4 chosen, 32 tokens: 82."""
    if not 0 < chosen <= experts or tokens < 0:
        raise ValueError(f"chosen={chosen} must lie in 1..{experts}, and tokens={tokens} be 0 or more")
    return experts * (1 - (1 - chosen / experts) ** tokens)


def mixture(config: ModelConfig) -> MoEConfig | None:
    """The model's mixture of experts (all its layers that have one have the same), or None."""
    return next((block.mlp for block in config.blocks if isinstance(block.mlp, MoEConfig)), None)


@dataclass(frozen=True)
class Pass:
    """One pass of all rows of a batch: `tokens` of all rows together, FLOPs by component, bytes moved, and the seconds
    that each of the two takes at the device's best."""

    tokens: int
    flops: int
    weights: float
    cache: int
    moving: float
    computing: float

    @property
    def intensity(self) -> float:
        """FLOP for each byte moved."""
        return self.flops / (self.weights + self.cache)

    @property
    def seconds(self) -> float:
        return max(self.moving, self.computing)

    @property
    def bound(self) -> str:
        return "bandwidth" if self.moving >= self.computing else "compute"

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds


@dataclass(frozen=True)
class Cost:
    """A model on a device, for `batch` texts of `context` tokens each. Formats: one of memory.WEIGHT_FORMATS and of
    memory.CACHE_FORMATS; None is the format in which the vendor releases the weights. ValueError for another format, or
    for a batch or context below 1."""

    config: ModelConfig
    device: Device
    batch: int = 1
    context: int = 8192
    weight_format: str | None = None
    cache_format: str = "bf16"

    def __post_init__(self):
        if self.batch < 1 or self.context < 1:
            raise ValueError(f"batch={self.batch} and context={self.context} must be 1 or more")
        if self.cache_format not in memory.CACHE_FORMATS:
            raise ValueError(f"format {self.cache_format!r} is not one of {', '.join(memory.CACHE_FORMATS)}")

    @property
    def stored(self) -> str:
        return self.weight_format or memory.released_format(self.config)

    @cached_property
    def _components(self) -> dict[str, int]:
        return memory.weights_by_component(self.config, self.stored)

    @cached_property
    def _layers(self) -> Counter:
        return memory.fold(self.config)

    @cached_property
    def _decode_flops(self) -> dict[str, int]:
        return flops.flops(self.config, 1, self.context)["flops"].to_dict()

    @property
    def weights(self) -> int:
        """Bytes of all weights, without the MTP module."""
        return sum(self._components.values())

    @cached_property
    def cache(self) -> int:
        """Bytes of the cache of the whole batch."""
        return self._cache(self.context)

    @property
    def free(self) -> int:
        """Bytes of the device's memory that remain; below 0 where it does not fit."""
        return self.device.memory - self.weights - self.cache

    @property
    def fits(self) -> bool:
        return self.free >= 0

    @cached_property
    def longest(self) -> int | None:
        """The most tokens of each text that fit beside the weights; see `memory.longest_text`. What the model was
        trained to read is another limit: config.max_position_embeddings."""
        left = self.device.memory - self.weights
        return memory.longest_text(self._layers, max(left, 0), self.batch, memory.CACHE_FORMATS[self.cache_format])

    def decode(self, batch: int | None = None) -> Pass:
        """Writing one more token after `context` ones, in each text; of another batch where one is given."""
        rows = batch or self.batch
        counts = {part: rows * n for part, n in self._decode_flops.items()}
        return self._pass(rows, counts, self._cache(self.context + 1, rows))

    @cached_property
    def prefill(self) -> Pass:
        """Reading the whole context of each text, from an empty cache. The head reads every token."""
        counts = flops.flops(self.config, self.context)["flops"].to_dict()
        return self._pass(self.batch * self.context, {part: self.batch * n for part, n in counts.items()}, self.cache)

    def touched(self, tokens: int) -> float:
        """How many experts of a layer a pass of so many tokens touches: see `touched` above. 0 without any."""
        moe = mixture(self.config)
        return touched(moe.num_experts, moe.num_experts_per_tok, tokens) if moe else 0.0

    def weights_read(self, tokens: int) -> float:
        """Bytes of weights that a pass of so many tokens reads, in expectation."""
        read = dict(self._components)
        if moe := mixture(self.config):
            read["experts"] *= self.touched(tokens) / moe.num_experts
        if not self.config.tie_word_embeddings:  # a tied table is read whole, as the head
            read["embedding"] *= min(1, tokens / self.config.vocab_size)
        return sum(read.values())

    def experts(self, tokens: int) -> dict[str, float]:
        """Bytes of the experts' weights, all layers together: held in memory, used by one token, and read by a pass of
        so many tokens, in expectation. 0 without experts."""
        held, moe = self._components.get("experts", 0), mixture(self.config)
        if not moe:
            return {"total": 0, "active": 0, "touched": 0.0}
        shares = {"total": 1, "active": moe.num_experts_per_tok / moe.num_experts}
        return {name: held * share for name, share in shares.items()} | {
            "touched": held * self.touched(tokens) / moe.num_experts
        }

    def _cache(self, length: int, batch: int | None = None) -> int:
        return memory.cache_bytes(self._layers, length, batch or self.batch, memory.CACHE_FORMATS[self.cache_format])

    def _pass(self, tokens: int, counts: dict[str, int], cache: int) -> Pass:
        weights = self.weights_read(tokens)
        peaks = {part: self.device.peak(self.stored if part in IN_FP8 else "bf16") for part in counts}
        return Pass(
            tokens=tokens,
            flops=sum(counts.values()),
            weights=weights,
            cache=cache,
            moving=(weights + cache) / self.device.bandwidth,
            computing=sum(n / peaks[part] for part, n in counts.items()),
        )


def compare(configs: dict[str, ModelConfig], device: Device, **options) -> "pd.DataFrame":
    """One row per model; `options` as in Cost. Columns: parameters, active (as the vendor counts), weights, cache, free
    (bytes), longest (tokens), and of decode and prefill: FLOPs per token, FLOP per byte, tokens per second at most
    (whether it fits or not), and what bounds it."""
    import pandas as pd

    rows = {}
    for name, config in configs.items():
        cost = Cost(config, device, **options)
        row = {"parameters": sizes.total(config), "active": sizes.active(config)}
        row |= {field: getattr(cost, field) for field in ("weights", "cache", "free", "longest")}
        for phase, done in (("decode", cost.decode()), ("prefill", cost.prefill)):
            row |= {
                f"{phase}_flops_per_token": done.flops / done.tokens,
                f"{phase}_intensity": done.intensity,
                f"{phase}_tokens_per_second": done.tokens_per_second,
                f"{phase}_bound": done.bound,
            }
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")
