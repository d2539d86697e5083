"""The same weights, one thing changed: `intervene` for the length of a with-block, `variant` as a second model.

Both leave the tensors of the given model untouched.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lmlab.configuration import ModelConfig
from lmlab.model import Block, LanguageModel, skeleton
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.moe import MoE
from lmlab.parts.rope import RoPEConfig

Pair = tuple[int, int]
UNCHANGED: Any = object()  # None is a value here: no window


def variant(model: LanguageModel, config: ModelConfig) -> LanguageModel:
    """A model of another configuration on the very same tensors (training one trains both).

    ValueError names every tensor that the new configuration asks for and the old model has not, or has in another
    shape. Tensors that it no longer uses are left out and named in the new model's `left_out`.
    """
    other = skeleton(config, model.embed_tokens.weight.dtype)
    have, want = model.state_dict(keep_vars=True), other.state_dict(keep_vars=True)
    problems = [f"{name} {tuple(want[name].shape)} is missing" for name in want if name not in have]
    problems += [
        f"{name} is {tuple(have[name].shape)} and would have to be {tuple(want[name].shape)}"
        for name in want
        if name in have and have[name].shape != want[name].shape
    ]
    if problems:
        raise ValueError("these weights do not fit the new configuration:\n  " + "\n  ".join(problems))
    # assign puts the given parameters themselves in, not copies of them
    other.load_state_dict({name: have[name] for name in want}, assign=True)
    other.left_out = tuple(name for name in have if name not in want)
    return other.to(model.embed_tokens.weight.device).train(model.training)


@contextmanager
def intervene(
    model: LanguageModel,
    *,
    ablate_head: Pair | Iterable[Pair] = (),
    force_head: Pair | Iterable[Pair] = (),
    ablate_expert: Pair | Iterable[Pair] = (),
    ban_expert: Pair | Iterable[Pair] = (),
    force_expert: Pair | Iterable[Pair] = (),
    remove_sinks: bool = False,
    window: int | None = UNCHANGED,
    top_k: int | None = None,
    router_temperature: float | None = None,
    rope: RoPEConfig | Callable[[RoPEConfig], RoPEConfig] | None = None,
    layers: Iterable[int] | None = None,
) -> Iterator[LanguageModel]:
    """Change the model for the length of the with-block; everything is put back on exit, also after an error.

    Pairs are (layer, head) or (layer, expert), one or several.
    ablate_head    the head's output is 0, as if its columns of o_proj were
    force_head     the head attends evenly to all that it may see, as if its queries were 0
    ablate_expert  the expert is chosen as before, and its output is 0
    ban_expert     the expert is never chosen: the next best takes its place
    force_expert   the expert is always among the chosen, weighed by its own score
    remove_sinks   a plain softmax in place of the one with a sink
    window         another sliding window, or None for none; on the layers that slide, or on `layers`
    top_k, router_temperature   of the routers;   rope   another RoPEConfig, or a function from the old one to it
    layers         where the last five apply; every layer that has the thing unless told. Make a cache inside the block.
    ValueError when there is no such layer, head, expert, sink, window or router.
    """
    blocks = list(model.layers)
    chosen = (
        list(range(len(blocks))) if layers is None else [_in_range("layer", layer, len(blocks)) for layer in layers]
    )
    with ExitStack() as stack:
        for layer, head in _pairs(ablate_head):
            _ablate_head(stack, _block(blocks, layer), head)
        for layer, head in _pairs(force_head):
            _even_head(stack, _block(blocks, layer), head)
        for layer, expert in _pairs(ablate_expert):
            _ablate_expert(stack, *_moe(blocks, layer, expert))
        for layer, expert in _pairs(ban_expert):
            _choose(stack, *_moe(blocks, layer, expert), float("-inf"))
        for layer, expert in _pairs(force_expert):
            _choose(stack, *_moe(blocks, layer, expert), float("inf"))
        if remove_sinks:
            for block in _having(blocks, chosen, _has_sinks, "sinks"):
                _set(stack, block.self_attn, sinks=None)
        if window is not UNCHANGED:
            for block in _having(blocks, chosen, _slides if layers is None else _can_slide, "a sliding window"):
                _set(stack, block.self_attn, config=replace(block.self_attn.config, sliding_window=window))
        for name, value in (("num_experts_per_tok", top_k), ("temperature", router_temperature)):
            if value is not None:
                for block in _having(blocks, chosen, _has_router, "a router"):
                    router = block.mlp.router
                    _set(stack, router, config=replace(router.config, **{name: value}))
        if rope is not None:
            for layer in chosen:
                _change_rope(stack, blocks[layer], rope)
        yield model


def _has_sinks(block: Block) -> bool:
    return getattr(block.self_attn, "sinks", None) is not None


def _can_slide(block: Block) -> bool:
    return isinstance(block.self_attn.config, GQAConfig)


def _slides(block: Block) -> bool:
    return _can_slide(block) and block.self_attn.config.sliding_window is not None


def _has_router(block: Block) -> bool:
    return isinstance(block.mlp, MoE)


def _ablate_head(stack: ExitStack, block: Block, head: int) -> None:
    attention = block.self_attn
    heads = attention.config.num_attention_heads
    width = attention.o_proj.in_features // heads
    start = _in_range("head", head, heads) * width

    def zero(module: nn.Module, inputs: tuple) -> tuple:
        joined = inputs[0].clone()  # (B, T, H * D)
        joined[..., start : start + width] = 0
        return (joined,)

    _hook(stack, attention.o_proj.register_forward_pre_hook(zero))


def _even_head(stack: ExitStack, block: Block, head: int) -> None:
    attention = block.self_attn
    heads = attention.config.num_attention_heads
    projection = attention.q_b_proj if hasattr(attention, "q_b_proj") else attention.q_proj
    width = projection.out_features // heads
    start = _in_range("head", head, heads) * width

    def zero(module: nn.Module, inputs: tuple, queries: torch.Tensor) -> torch.Tensor:
        place = torch.arange(start, start + width, device=queries.device)
        return queries.index_fill(-1, place, 0)  # (B, T, H * D)

    _hook(stack, projection.register_forward_hook(zero))


def _ablate_expert(stack: ExitStack, moe: MoE, expert: int) -> None:
    def zero(module: nn.Module, inputs: tuple) -> tuple:
        x, indices, weights = inputs
        return x, indices, weights.masked_fill(indices == expert, 0)

    _hook(stack, moe.experts.register_forward_pre_hook(zero))


def _choose(stack: ExitStack, moe: MoE, expert: int, eligibility: float) -> None:
    """Put one expert last (-inf) or first (inf) in the choice; the chosen are weighed by the router's own rule."""
    before = moe.router.eligible  # perhaps changed by an intervention already: they add up

    def eligible(logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return before(logits, scores).index_fill(-1, torch.tensor([expert], device=logits.device), eligibility)

    _set(stack, moe.router, eligible=eligible)


def _change_rope(stack: ExitStack, block: Block, rope: RoPEConfig | Callable[[RoPEConfig], RoPEConfig]) -> None:
    attention = block.self_attn
    old = attention.config.rope
    new = rope(old) if callable(rope) else rope
    module = new.build(attention.rope.dim).to(attention.rope.inv_freq.device)
    core = type(attention.core)(attention.core.scale * new.softmax_factor / old.softmax_factor)
    _set(stack, attention, config=replace(attention.config, rope=new), rope=module, core=core)


def _set(stack: ExitStack, module: nn.Module, **attributes: Any) -> None:
    for name, value in attributes.items():
        if hasattr(type(module), name) and name not in module.__dict__:
            stack.callback(delattr, module, name)  # a method of the class shows again
        else:
            stack.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, value)


def _hook(stack: ExitStack, handle: torch.utils.hooks.RemovableHandle) -> None:
    stack.callback(handle.remove)


def _pairs(given: Pair | Iterable[Pair]) -> list[Pair]:
    given = list(given)
    return [tuple(given)] if given and isinstance(given[0], int) else given


def _in_range(what: str, index: int, size: int) -> int:
    if not 0 <= index < size:
        raise ValueError(f"there is no {what} {index}: they are numbered 0 to {size - 1}")
    return index


def _block(blocks: list[Block], layer: int) -> Block:
    return blocks[_in_range("layer", layer, len(blocks))]


def _moe(blocks: list[Block], layer: int, expert: int) -> tuple[MoE, int]:
    mlp = _block(blocks, layer).mlp
    if not isinstance(mlp, MoE):
        sparse = [i for i, block in enumerate(blocks) if isinstance(block.mlp, MoE)]
        raise ValueError(f"layer {layer} has no experts; layers that have: {sparse}")
    return mlp, _in_range("expert", expert, mlp.config.num_experts)


def _having(blocks: list[Block], layers: list[int], has: Callable[[Block], bool], what: str) -> list[Block]:
    found = [blocks[layer] for layer in layers if has(blocks[layer])]
    if not found:
        raise ValueError(f"none of the layers {layers} has {what}")
    return found
