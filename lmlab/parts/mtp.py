"""Multi-token prediction: one more block that reads the model's hidden state and the next token, and predicts the one
after it (DeepSeek-V3, arXiv:2412.19437, section 2.2, eq. 21-23).

The checkpoint concatenates [embedding; hidden], the reverse of the paper's order, and the hidden state is the one after
the model's final norm (transformers `modeling_layers.py`, `MtpLayer`; vLLM and SGLang agree).
"""

import torch
from torch import nn

from lmlab.parts.masks import Timeline, timeline_of
from lmlab.parts.norm import RMSNormConfig


class MultiTokenPrediction(nn.Module):
    """hidden (B, T, C) of tokens i, and ids (B, T) of tokens i + 1 -> logits (B, T, V) for tokens i + 2.

    The embedding and the head are the main model's: used here, owned there.
    """

    def __init__(
        self, hidden_size: int, norm: RMSNormConfig, block: nn.Module, embed_tokens: nn.Module, lm_head: nn.Module
    ):
        super().__init__()
        self.enorm = norm.build(hidden_size)
        self.hnorm = norm.build(hidden_size)
        self.eh_proj = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        self.block = block
        self.norm = norm.build(hidden_size)
        # in a tuple: a plain attribute would register them as this module's own, and count and save them twice
        self.shared = (embed_tokens, lm_head)

    def hidden(
        self, hidden: torch.Tensor, ids: torch.Tensor, timeline: Timeline | None = None, cache=None
    ) -> torch.Tensor:
        """The state (B, T, C) that a further module would read in its turn."""
        embed_tokens, _ = self.shared
        both = torch.cat((self.enorm(embed_tokens(ids)), self.hnorm(hidden)), dim=-1)  # (B, T, 2 C)
        return self.norm(self.block(self.eh_proj(both), timeline or timeline_of(ids, cache), cache))  # (B, T, C)

    def forward(
        self, hidden: torch.Tensor, ids: torch.Tensor, timeline: Timeline | None = None, cache=None
    ) -> torch.Tensor:
        _, lm_head = self.shared
        return lm_head(self.hidden(hidden, ids, timeline, cache))  # (B, T, V)

    def make_cache(self, batch_size: int, max_length: int, slack: int = 0):
        """Its own, of one layer; the arguments are those of the model's `make_cache`."""
        weight = self.eh_proj.weight
        return self.block.self_attn.make_cache(batch_size, max_length, weight.dtype, weight.device, slack)
