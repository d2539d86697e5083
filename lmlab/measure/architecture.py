"""A model as a tree, from the stack down to each tensor, with what every part holds and costs.

Equal layers are folded into one with its number of copies; where a pattern repeats, as GPT-OSS's pairs of a sliding and
a full layer, the pattern is folded. What is inside a layer: anatomy.py.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.measure.anatomy import Node, Pass, block, leaf, settings, summed
from lmlab.model import LanguageModel
from lmlab.parts.moe import MoEConfig
from lmlab.parts.mtp import MultiTokenPrediction

if TYPE_CHECKING:
    import pandas as pd

LONGEST_PATTERN = 16  # layers
SAME, OTHER, ONLY = "same", "other", "only"


def tree(config: ModelConfig, format: str = "bf16", tokens: int = 1, context: int = 0) -> Node:
    """The whole model, for a pass in which one row reads `tokens` tokens after `context` (see flops.py), its weights in
    bytes of `format` (see memory.py; ValueError for another).

    parameters and bytes hold the MTP modules, which no ordinary pass uses; active holds embedding and head.
    """
    if format not in ("bf16", "mxfp4", "fp8"):
        raise ValueError(f"format {format!r} is not one of bf16, mxfp4, fp8")
    run, hidden = Pass(format=format, tokens=tokens, context=context), config.hidden_size
    with torch.device("meta"):
        embedding = nn.Embedding(config.vocab_size, hidden)
        head = nn.Linear(hidden, config.vocab_size, bias=False)
        norm = config.norm.build(hidden)
    tied = config.tie_word_embeddings
    multiplied = leaf("lm_head", head, ("B", "T", config.vocab_size), **_stored(0 if tied else head.weight.numel()))
    children = [
        leaf("embed_tokens", embedding, ("B", "T", hidden), **_stored(embedding.weight.numel())),
        *_Stack(config, run).nodes(config.blocks, [[i] for i in range(config.num_hidden_layers)]),
        leaf("norm", norm, ("B", "T", hidden), **_stored(hidden)),
        replace(
            multiplied,
            flops=2 * tokens * head.weight.numel(),
            title="lm_head, tied: the embedding's matrix" if tied else "lm_head",
        ),
        *_mtp(config, run),
    ]
    shown = ("name", "model_type", "inert", "blocks", "mtp", "initializer_range")
    own = settings(config, shown) | {"num_hidden_layers": config.num_hidden_layers}
    name = config.name or config.model_type
    return summed("model", name, children, own, thing=LanguageModel, output=multiplied.output)


def _stored(parameters: int, active: int | None = None) -> dict[str, int]:
    """Outside of the layers everything stays bf16."""
    used = parameters if active is None else active
    return {"parameters": parameters, "active": used, "bytes": 2 * parameters}


def fold(blocks: tuple[BlockConfig, ...]) -> list[tuple[int, tuple[BlockConfig, ...], int]]:
    """The layers as (first layer, pattern, repeats): the pattern that covers most layers is folded, then what follows.

    GPT-OSS: [(0, (sliding, full), 18)]. DeepSeek-V3: [(0, (dense,), 3), (3, (experts,), 58)].
    """
    runs, start = [], 0
    while start < len(blocks):
        periods = range(1, min(LONGEST_PATTERN, (len(blocks) - start) // 2) + 1)
        repeats = {period: _repeats(blocks, start, period) for period in periods}
        covering = {p: p * n for p, n in repeats.items() if n > 1} or {1: 1}
        period = max(covering, key=lambda p: (covering[p], -p))
        runs.append((start, blocks[start : start + period], covering[period] // period))
        start += covering[period]
    return runs


def _repeats(blocks: tuple[BlockConfig, ...], start: int, period: int) -> int:
    """How often the next `period` layers come, one time after the other."""
    end = start + period
    while end < len(blocks) and blocks[end] == blocks[end - period]:
        end += 1
    return (end - start) // period


class _Stack:
    """The layers of one model, folded."""

    def __init__(self, config: ModelConfig, run: Pass):
        self.config, self.run = config, run
        self.kinds, self.seen = list(dict.fromkeys(config.blocks)), set()

    def nodes(self, blocks: tuple[BlockConfig, ...], layers: list[list[int]]) -> list[Node]:
        """`layers`: which of the model's layers each of `blocks` stands for."""
        found = []
        for start, pattern, copies in fold(blocks):
            period = len(pattern)
            each = [[layer for k in range(copies) for layer in layers[start + i + k * period]] for i in range(period)]
            if period == 1:
                found.append(self.block(pattern[0], copies, sorted(each[0])))
                continue
            title = "pair of blocks" if period == 2 else f"pattern of {period} blocks"
            path = self.path("repeat", each[0][0])
            own = {"layers": _told(sorted(layer for one in each for layer in one))}
            found.append(summed(path, title, self.nodes(pattern, each), own, copies))
        return found

    def block(self, config: BlockConfig, copies: int, layers: list[int]) -> Node:
        which = self.kinds.index(config)
        # the last kind is a model's main one: GPT-OSS's full attention, DeepSeek's experts
        path = self.path("block" if config == self.kinds[-1] else f"block {which + 1}", layers[0])
        title = ", ".join(["block", *self.distinction(config)])
        return block(config, self.config.hidden_size, self.run, path, title, copies, _told(layers))

    def path(self, path: str, layer: int) -> str:
        """The path, or another where a kind of layer comes again after others."""
        path = f"{path} at {layer}" if path in self.seen else path
        self.seen.add(path)
        return path

    def distinction(self, config: BlockConfig) -> list[str]:
        """In which words this kind of layer differs from the model's others."""
        said = []
        if len({getattr(kind.attention, "sliding_window", None) for kind in self.kinds}) > 1:
            window = config.attention.sliding_window
            said.append("full attention" if window is None else f"window {window:,}")
        if len({type(kind.mlp) for kind in self.kinds}) > 1:
            said.append("experts" if isinstance(config.mlp, MoEConfig) else "dense MLP")
        return said


def _told(layers: list[int]) -> str:
    """Which layers, in few words; from 0."""
    if len(layers) < 4:
        return ", ".join(map(str, layers))
    first, second, *_, last = layers
    return f"{first} to {last}" if last - first == len(layers) - 1 else f"{first}, {second}, ... {last}"


def _mtp(config: ModelConfig, run: Pass) -> list[Node]:
    """The multi-token-prediction modules: stored, used by no ordinary pass."""
    nodes, hidden = [], config.hidden_size
    for i, inner in enumerate(config.mtp):
        path = f"mtp {i}" if len(config.mtp) > 1 else "mtp"
        with torch.device("meta"):
            around = MultiTokenPrediction(hidden, config.norm, nn.Identity(), None, None)
        parts = {name: part for name, part in around.named_children() if name != "block"}
        leaves = {
            name: leaf(f"{path}.{name}", part, ("B", "T", hidden), **_stored(part.weight.numel(), 0))
            for name, part in parts.items()
        }
        last = leaves.pop("norm")
        layer = block(
            inner, hidden, replace(run, idle=True), f"{path}.block", "block", 1, f"{config.num_hidden_layers + i}"
        )
        title = "mtp: multi-token prediction"
        nodes.append(summed(path, title, [*leaves.values(), layer, last], {}, thing=MultiTokenPrediction))
    return nodes


def walk(node: Node, times: int = 1) -> Iterator[tuple[Node, int]]:
    """Every node from the top down, with how many copies of its parent the model has."""
    yield node, times
    for child in node.children:
        yield from walk(child, times * node.copies)


def table(root: Node) -> "pd.DataFrame":
    """One row per node, by path: parent, title, copies (in one parent), in_model (copies in the whole model), output,
    weight; parameters, active, bytes and flops of all of them in the whole model."""
    import pandas as pd

    parents = {child.path: node.path for node, _ in walk(root) for child in node.children}
    rows = [
        {
            "path": node.path,
            "parent": parents.get(node.path, ""),
            "title": node.title,
            "copies": node.copies,
            "in_model": times * node.copies,
            "output": node.output,
            "weight": node.weight,
            **{name: times * getattr(node, name) for name in ("parameters", "active", "bytes", "flops")},
        }
        for node, times in walk(root)
    ]
    return pd.DataFrame(rows).set_index("path")


def role(path: str) -> str:
    """What a node is compared with in other models: "block 1.mlp" is any layer's MLP."""
    return re.sub(r"^(mtp)?( \d+)?(\.?)(block|repeat)[^.]*", r"\1\3\4", path)


def compare(trees: dict[str, Node]) -> dict[str, dict[str, str]]:
    """name -> path -> how the part stands to the other models: "only" where another has no such part, "other" where
    another's is unlike it in size, settings or anything inside, "same" where all are alike."""
    signatures = {name: {} for name in trees}
    for name, root in trees.items():
        for node, _ in walk(root):
            signatures[name].setdefault(role(node.path), set()).add(_signature(node))

    def stands(name: str, node: Node) -> str:
        others = [found.get(role(node.path)) for other, found in signatures.items() if other != name]
        if any(found is None for found in others):
            return ONLY
        return SAME if all(_signature(node) in found for found in others) else OTHER

    return {name: {node.path: stands(name, node) for node, _ in walk(root)} for name, root in trees.items()}


def _signature(node: Node) -> tuple:
    own = tuple(sorted((name, str(value)) for name, value in node.settings.items()))
    inside = tuple(map(_signature, node.children))
    return role(node.path), node.thing, own, node.copies, node.weight, inside
