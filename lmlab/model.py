"""The whole model: embedding, a stack of blocks, a norm, a head; with multi-token prediction where it is configured."""

import torch
from torch import nn

from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.parts.cache import ModelCache
from lmlab.parts.masks import Timeline
from lmlab.parts.mtp import MultiTokenPrediction
from lmlab.parts.norm import RMSNorm


class Block(nn.Module):
    """Two steps, each added to the stream: x + attention(norm(x)), then x + mlp(norm(x)). (B, T, C) -> (B, T, C)"""

    def __init__(self, config: BlockConfig, hidden_size: int):
        super().__init__()
        self.input_layernorm = config.norm.build(hidden_size)
        self.self_attn = config.attention.build(hidden_size)
        self.post_attention_layernorm = config.norm.build(hidden_size)
        self.mlp = config.mlp.build(hidden_size)

    def forward(self, x: torch.Tensor, timeline: Timeline, cache=None) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), timeline, cache)
        return x + self.mlp(self.post_attention_layernorm(x), timeline.token_mask)


class LanguageModel(nn.Module):
    """ids (B, T) -> logits (B, T, V). Module names are those of transformers, without the prefix "model."."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(block, config.hidden_size) for block in config.blocks)
        self.norm = config.norm.build(config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight
        self.mtp = nn.ModuleList(
            MultiTokenPrediction(
                config.hidden_size, config.norm, Block(block, config.hidden_size), self.embed_tokens, self.lm_head
            )
            for block in config.mtp
        )

    def forward(
        self, ids: torch.Tensor, cache: ModelCache | None = None, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """ids (B, T), read after what `cache` holds -> logits (B, T, V).

        `lengths` (B,): how many tokens of each row are real, for a batch padded at the left. Given with the first
        chunk; the cache remembers it. Padding reaches no other row, no expert, and is masked in the cache. ValueError
        when the cache is too small, has another batch size, or has begun without the padding.
        """
        return self.lm_head(self.hidden(ids, cache, lengths))  # (B, T, V)

    def hidden(
        self,
        ids: torch.Tensor,
        cache: ModelCache | None = None,
        lengths: torch.Tensor | None = None,
        timeline: Timeline | None = None,
    ) -> torch.Tensor:
        """The state after the final norm, which the head and the first MTP module read. (B, T) -> (B, T, C)

        `timeline`: where the tokens stand, for a caller that packs several documents into a row (parts/masks.py).
        """
        timeline = timeline or self.timeline(ids, cache, lengths)
        x = self.embed_tokens(ids)  # (B, T, C)
        for i, layer in enumerate(self.layers):
            x = layer(x, timeline, cache.layers[i] if cache else None)
        return self.norm(x)

    def timeline(
        self, ids: torch.Tensor, cache: ModelCache | None = None, lengths: torch.Tensor | None = None
    ) -> Timeline:
        """Where these tokens stand: after the cache's, the row's padding left out."""
        if ids.ndim != 2:
            raise ValueError(f"ids has shape {tuple(ids.shape)}: a batch (B, T) is expected, ids[None] for one row")
        columns = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        padding = None if lengths is None else ids.shape[1] - lengths.to(ids.device)  # (B,)
        if lengths is not None:
            _check_lengths(lengths, ids)
        if cache is None:
            return Timeline(columns, padding)
        if not torch.compiler.is_compiling() and not ids.is_meta:
            _check_cache(cache, ids, lengths)
        if padding is not None:
            cache.padding = padding
        return Timeline(cache.length + columns, cache.padding, begun=lengths is None and cache.begun)

    def make_cache(self, batch_size: int, max_length: int, slack: int = 0) -> ModelCache:
        """Room for `max_length` tokens in each of `batch_size` rows. Window layers keep a window; `slack` more places
        let their last `slack` tokens be trimmed."""
        weight = self.embed_tokens.weight
        layers = [
            layer.self_attn.make_cache(batch_size, max_length, weight.dtype, weight.device, slack)
            for layer in self.layers
        ]
        return ModelCache(layers, batch_size, max_length)


def _check_lengths(lengths: torch.Tensor, ids: torch.Tensor) -> None:
    if lengths.shape != ids.shape[:1]:
        raise ValueError(f"lengths has shape {tuple(lengths.shape)} for ids of {ids.shape[0]} rows: one number per row")
    if not ids.is_meta and not bool(((lengths >= 1) & (lengths <= ids.shape[1])).all()):
        raise ValueError(f"lengths must lie from 1 to {ids.shape[1]}, the width of ids: got {lengths.tolist()}")


def _check_cache(cache: ModelCache, ids: torch.Tensor, lengths: torch.Tensor | None) -> None:
    held = int(cache.length)
    if cache.batch_size != ids.shape[0]:
        raise ValueError(
            f"the cache was made for {cache.batch_size} rows, ids has {ids.shape[0]}: make_cache({ids.shape[0]}, ...)"
        )
    if held + ids.shape[1] > cache.max_length:
        raise ValueError(
            f"the cache holds {held} of at most {cache.max_length} tokens and {ids.shape[1]} more were given: "
            f"make_cache({cache.batch_size}, {held + ids.shape[1]}) or more"
        )
    if held and lengths is not None:
        raise ValueError(
            f"lengths belong to the first chunk, but the cache already holds {held} tokens: cache.reset() first"
        )


def build(
    config: ModelConfig,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> LanguageModel:
    """A model of this configuration with random weights: normal(0, initializer_range), norms 1, biases 0.

    device "meta" builds the architecture alone, without memory: DeepSeek-V3 in a fraction of a second. `generator` (a
    CPU generator, seed 0 if none is given) makes the weights reproducible.
    """
    model = skeleton(config, dtype)
    if torch.device(device).type == "meta":
        return model.to("meta")  # the frequencies of RoPE, which no file holds, follow the rest
    model.to_empty(device=device)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.embed_tokens.weight
    init_weights(model, generator or torch.Generator().manual_seed(0))
    return model


def skeleton(config: ModelConfig, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The architecture with parameters on the meta device and RoPE's frequencies on the CPU: ready for
    `load_state_dict(..., assign=True)`."""
    with torch.device("meta"):
        return LanguageModel(config).to(dtype)


@torch.no_grad()
def init_weights(model: LanguageModel, generator: torch.Generator) -> None:
    """Fill every parameter and persistent buffer in place, in the order of named_parameters."""
    norms = {id(module.weight) for module in model.modules() if isinstance(module, RMSNorm)}
    for name, parameter in model.named_parameters():
        if id(parameter) in norms:
            parameter.fill_(1)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            values = torch.randn(parameter.shape, generator=generator) * model.config.initializer_range
            parameter.copy_(values)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.zero_()
