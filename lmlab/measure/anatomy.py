"""One part of a model as a tree of its modules and tensors, with what each of them holds and costs.

Read off the real modules, built without memory; counted by sizes.py, memory.py and flops.py; shapes of outputs are
those of a forward pass.
"""

from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import nn

from lmlab.configuration import BlockConfig, flatten
from lmlab.measure.flops import score_flops
from lmlab.measure.memory import tensor_bytes
from lmlab.measure.sizes import component, is_matrix, used
from lmlab.model import Block
from lmlab.parts.masks import timeline_of
from lmlab.parts.mla import MLAConfig
from lmlab.parts.mlp import MLPConfig
from lmlab.parts.moe import Experts, MoEConfig
from lmlab.parts.norm import RMSNorm
from lmlab.parts.rope import RoPE
from lmlab.parts.router import Router, Routing

Shape = tuple[int | str, ...]
_LEAVES = (nn.Linear, RMSNorm)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One part of a model. `parameters`, `active` (those that one token uses), `bytes` and `flops` (of the pass) are of
    all `copies` of it in one copy of its parent: a parent's are `copies` times the sum of its children's.

    path      its place, the same for the same part of another model: "block.self_attn.q_proj"
    title     the same for a reader
    thing     the class that makes it; None for a bare tensor, and for what only holds others
    settings  the fields of its configuration, by name
    weight    the shape of its tensor
    output    the shape of what it gives; rows B, tokens T, B * T tokens N and A experts for each token are letters
    """

    path: str
    title: str
    thing: type | None = None
    settings: dict[str, Any]
    copies: int = 1
    weight: tuple[int, ...] | None = None
    output: Shape | None = None
    parameters: int = 0
    active: int = 0
    bytes: int = 0
    flops: int = 0
    children: tuple["Node", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pass:
    """`tokens` tokens of one row are read after `context` others, with weights stored in `format`; `idle`: these parts
    are stored, and no ordinary pass uses them."""

    format: str = "bf16"
    tokens: int = 1
    context: int = 0
    idle: bool = False


COUNTS = ("parameters", "active", "bytes", "flops")


def summed(path: str, title: str, children: list[Node], settings: dict, copies: int = 1, **more) -> Node:
    """What holds `children`; its numbers are theirs."""
    totals = {name: copies * sum(getattr(child, name) for child in children) for name in COUNTS}
    return Node(path=path, title=title, settings=settings, copies=copies, children=tuple(children), **totals, **more)


def settings(config: Any, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration's own fields; of a part within it the name of its type, or nothing where the part is a node."""
    found = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in left_out}
    return {
        name: type(value).__name__ if is_dataclass(value) else value
        for name, value in found.items()
        if name not in ("rope", "router", "norm", "qk_norm", "latent_norm")
    }


def leaf(path: str, module: nn.Module, output: Shape | None, **counts: int) -> Node:
    """A module of one tensor and perhaps a bias."""
    own = {"bias": True} if getattr(module, "bias", None) is not None else {}
    if isinstance(module, RMSNorm):
        own = settings(module.config)
    name, shape = path.rpartition(".")[2], tuple(module.weight.shape)
    return Node(path=path, title=name, thing=type(module), settings=own, weight=shape, output=output, **counts)


def block(config: BlockConfig, hidden_size: int, run: Pass, path: str, title: str, copies: int, layers: str) -> Node:
    """One layer, `copies` times: norms, attention, MLP or experts, down to each tensor."""
    reader = _Reader(config, run, path, outputs(config, hidden_size))
    children = reader.children("", _built(config, hidden_size))
    return summed(path, title, children, {"layers": layers}, copies, thing=Block, output=reader.outputs[""])


@lru_cache(maxsize=64)
def _built(config: BlockConfig, hidden_size: int) -> Block:
    with torch.device("meta"):
        return Block(config, hidden_size).to("meta")  # the frequencies of RoPE too


@lru_cache(maxsize=256)
def outputs(config: BlockConfig, hidden_size: int) -> dict[str, Shape]:
    """module -> the shape of its output, from two forward passes on the meta device: what is 1, then 2, is B, and so
    on."""
    module = _built(config, hidden_size)
    found: dict[str, list[tuple[int, ...]]] = {}

    def record(name: str):
        def hook(_, __, out) -> None:
            out = out.weights if isinstance(out, Routing) else out[0] if isinstance(out, tuple) else out
            found.setdefault(name, []).append(tuple(out.shape))

        return hook

    hooks = [part.register_forward_hook(record(name)) for name, part in module.named_modules()]
    for rows, tokens in ((1, 1), (2, 3)):
        x = torch.empty(rows, tokens, hidden_size, device="meta")  # (B, T, C)
        module(x, timeline_of(x))
    for hook in hooks:
        hook.remove()
    letters = {(1, 2): "B", (1, 3): "T", (1, 6): "N"}
    return {name: tuple(letters.get((a, b), a) for a, b in zip(*shapes, strict=True)) for name, shapes in found.items()}


@dataclass(frozen=True)
class _Reader:
    """Reads the modules of one block."""

    config: BlockConfig
    run: Pass
    path: str
    outputs: dict[str, Shape]

    def children(self, name: str, module: nn.Module) -> list[Node]:
        """The parts of one module, which is called `name` in its block: its own tensors, then its modules."""
        inside = f"{name}." if name else ""
        tensors = [self.tensor(inside + key, value) for key, value in module.named_parameters(recurse=False)]
        kept = module.state_dict(keep_vars=True)
        buffers = [
            Node(path=f"{self.path}.{inside}{key}", title=key, settings={}, weight=tuple(value.shape))
            for key, value in module.named_buffers(recurse=False)
            if key in kept  # what a checkpoint holds: a buffer is no parameter
        ]
        parts = [
            self.part(inside + key, part) for key, part in module.named_children() if not isinstance(part, nn.Identity)
        ]
        return [*parts, *tensors, *buffers] if name == "self_attn" else [*tensors, *buffers, *parts]

    def part(self, name: str, module: nn.Module) -> Node:
        output, path = self.outputs.get(name), f"{self.path}.{name}"
        if isinstance(module, _LEAVES):
            return leaf(path, module, output, **self.counts(name, module))
        key = name.rpartition(".")[2]
        if isinstance(module, RoPE):
            return Node(path=path, title=key, thing=RoPE, settings=flatten(module.config))
        if key == "core":
            scores, _ = score_flops(self.config.attention, self.run.tokens, self.run.context)
            flops = 0 if self.run.idle else scores
            title, own = "core: scores and weighted values", {"scale": module.scale}
            return Node(path=path, title=title, thing=type(module), settings=own, output=output, flops=flops)
        config = getattr(module, "config", None)
        if isinstance(module, Router):
            config = self.config.mlp.router
        own = settings(config) if config else {}
        if isinstance(module, Experts):
            own = {key: own[key] for key in ("moe_intermediate_size", "activation", "bias")}
            own |= {"num_experts": config.num_experts, "num_experts_per_tok": config.num_experts_per_tok}
        title = f"{key}{_said(module, config)}"
        return summed(path, title, self.children(name, module), own, thing=type(module), output=output)

    def tensor(self, name: str, value: nn.Parameter) -> Node:
        """A parameter that its module holds by itself: experts' stacked matrices, a router's, sinks."""
        shape, output = tuple(value.shape), None
        kind = component(name)
        if is_matrix(kind, shape) and kind == "experts":
            output = ("N", self.config.mlp.num_experts_per_tok, shape[1])
        elif is_matrix(kind, shape):
            output = ("N", shape[0])
        counts = self.count(name, shape)
        path, title = f"{self.path}.{name}", name.rpartition(".")[2]
        return Node(path=path, title=title, settings={}, weight=shape, output=output, **counts)

    def counts(self, name: str, module: nn.Module) -> dict[str, int]:
        each = [self.count(f"{name}.{key}", tuple(value.shape)) for key, value in module.named_parameters()]
        return {key: sum(count[key] for count in each) for key in COUNTS}

    def count(self, name: str, shape: tuple[int, ...]) -> dict[str, int]:
        kind, parameters = component(name), prod(shape)
        active = 0 if self.run.idle else used(self.config, kind, parameters)
        flops = 2 * self.run.tokens * active if is_matrix(kind, shape) else 0
        if name == "self_attn.kv_b_proj.weight" and not self.run.idle:
            flops += score_flops(self.config.attention, self.run.tokens, self.run.context)[1]
        stored = tensor_bytes(kind, shape, self.run.format)
        return {"parameters": parameters, "active": active, "bytes": stored, "flops": flops}


def _said(module: nn.Module, config: Any) -> str:
    """What a reader is told of a part beside its name."""
    if isinstance(config, MLAConfig):
        return f": MLA, {config.num_attention_heads} heads"
    if isinstance(config, MoEConfig) and not isinstance(module, Experts):
        return ": mixture of experts"
    if isinstance(config, MoEConfig):
        return f" x {config.num_experts:,}, {config.num_experts_per_tok:,} active"
    if isinstance(config, MLPConfig):
        return f": dense, {config.intermediate_size:,} wide"
    if isinstance(module, Router):
        return f": {type(module).__name__.removesuffix('Router')}"
    window = f", window {config.sliding_window:,}" if config.sliding_window else ""
    return f": GQA, {config.num_attention_heads} heads on {config.num_key_value_heads}{window}"
