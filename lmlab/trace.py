"""What happened inside a forward pass, recorded by hooks; the model's own code knows nothing of it.

>>> with Trace(model) as trace:
...     model(ids)
>>> trace.attention(3).weights, trace.routing(3).indices, trace.residual()
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch

from lmlab.model import Block, LanguageModel
from lmlab.parts.moe import MoE
from lmlab.parts.router import Routing


@dataclass(frozen=True, kw_only=True)
class AttentionRecord:
    """What the attention core of one layer read and computed.

    q (B, H, T, D), after norm and RoPE; three of them, in a tuple, under dual chunk attention. k (B, K, S, D), v
    (B, K, S, D'), the cache's included. weights (B, H, T, S). sink (B, H, T): the share that went to the learned sink;
    None where there is none. columns (S,) of the keys are not needed without a cache: key j is token j.
    """

    q: torch.Tensor | tuple[torch.Tensor, ...]
    k: torch.Tensor
    v: torch.Tensor
    weights: torch.Tensor
    sink: torch.Tensor | None


class Trace:
    """Records attention, routing and the residual stream of every pass made inside the `with`.

    Attention weights exist only in the explicit core: it is swapped in on entry, and the old one put back on exit,
    whatever happened. Layers count from 0; those after the last are the multi-token-prediction blocks. With several
    passes (generation), `step` chooses one: -1, the last, unless told.
    """

    def __init__(self, model: LanguageModel):
        if isinstance(model, torch._dynamo.OptimizedModule) or any(
            module._compiled_call_impl is not None for module in model.modules()
        ):
            raise ValueError("a compiled model ignores hooks, and a trace of it would be empty: trace the model itself")
        self.model = model
        self.blocks: list[Block] = [*model.layers, *(module.block for module in model.mtp)]
        self._records: dict[tuple[str, int], list[Any]] = defaultdict(list)

    def __enter__(self) -> "Trace":
        self._cores = [(block.self_attn, block.self_attn.core) for block in self.blocks]
        self._hooks = []
        for layer, block in enumerate(self.blocks):
            block.self_attn.core = block.self_attn.core.explicit()
            self._on(block.self_attn.core, "attention", layer, _attention_record)
            self._on(block, "residual", layer, lambda inputs, output: (inputs[0].detach(), output.detach()))
            for name in ("q_norm", "k_norm"):  # grouped-query attention has both, perhaps as nn.Identity
                if hasattr(block.self_attn, name):
                    self._on(getattr(block.self_attn, name), name, layer, lambda inputs, output: inputs[0].detach())
            for part, kind in ((block.self_attn, "attention's addition"), (block.mlp, "MLP's addition")):
                self._on(part, kind, layer, lambda inputs, output: output.detach())
            if isinstance(block.mlp, MoE):
                detached = lambda inputs, output: Routing(*(t.detach() for t in output))  # noqa: E731
                self._on(block.mlp.router, "routing", layer, detached)
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        for attention, core in self._cores:
            attention.core = core
        for hook in self._hooks:
            hook.remove()
        if error_type is None and not self._records:
            raise RuntimeError("nothing was recorded: run the traced model itself, uncompiled, inside the with")

    def _on(self, module: torch.nn.Module, kind: str, layer: int, make) -> None:
        def record(module, inputs, output):
            self._records[kind, layer].append(make(inputs, output))

        self._hooks.append(module.register_forward_hook(record))

    def attention(self, layer: int, step: int = -1) -> AttentionRecord:
        return self._get("attention", layer, step)

    def projected(self, layer: int, step: int = -1) -> tuple[torch.Tensor, torch.Tensor]:
        """q (B, H, T, D) and k (B, K, T, D) of grouped-query attention as projected, before QK-Norm and RoPE."""
        return self._get("q_norm", layer, step), self._get("k_norm", layer, step)

    def routing(self, layer: int, step: int = -1) -> Routing:
        """logits and scores (N, E), weights and indices (N, A); N counts real tokens only, row after row."""
        return self._get("routing", layer, step)

    def residual(self, step: int = -1) -> torch.Tensor:
        """The stream before the first block and after each: (L + 1, B, T, C). MTP blocks, another stream, left out."""
        passes = [self._get("residual", layer, step) for layer in range(len(self.model.layers))]
        return torch.stack([passes[0][0], *(output for _, output in passes)])

    def additions(self, step: int = -1) -> torch.Tensor:
        """What attention and MLP of each layer added to the stream, in this order: (L, 2, B, T, C)."""
        kinds = "attention's addition", "MLP's addition"
        layers = range(len(self.model.layers))
        return torch.stack([torch.stack([self._get(kind, layer, step) for kind in kinds]) for layer in layers])

    def _get(self, kind: str, layer: int, step: int) -> Any:
        found = sorted(i for k, i in self._records if k == kind)
        if (kind, layer) not in self._records:
            raise ValueError(f"layer {layer} has no {kind} in this trace; layers that have: {found}")
        records = self._records[kind, layer]
        if not -len(records) <= step < len(records):
            raise ValueError(f"step {step} of a trace that holds {len(records)} passes")
        return records[step]


def _attention_record(inputs: tuple, output: tuple) -> AttentionRecord:
    q, k, v, _, *rest = inputs
    weights = output[1].detach()
    has_sinks = isinstance(q, torch.Tensor) and bool(rest) and rest[0] is not None
    return AttentionRecord(
        q=q.detach() if isinstance(q, torch.Tensor) else tuple(version.detach() for version in q),
        k=k.detach().clone(),  # perhaps a view of a cache, which writes on
        v=v.detach().clone(),
        weights=weights,
        sink=1 - weights.sum(-1) if has_sinks else None,
    )
