"""The residual stream of one text: its state after every part, what each part added, and what the model would say if it
stopped there (the logit lens: nostalgebraist, "interpreting GPT: the logit lens", 2020).

A stop is a place in the stream: after the embedding, after the attention and after the MLP of each layer. P stops,
P = 2 L + 1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lmlab import facts
from lmlab.configuration import ModelConfig
from lmlab.measure import sizes
from lmlab.model import LanguageModel
from lmlab.text.pieces import pieces
from lmlab.text.prompts import Prompt
from lmlab.text.tokenizer import Tokenizer
from lmlab.trace import Trace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One text on its way through a model.

    ids (T,). added (P, T, C): the embedding, then what each part added; `parts` names them. states (P, T, C): the
    stream after each, their running sum. logits (T, V): the model's own.
    """

    parts: tuple[str, ...]
    ids: torch.Tensor
    added: torch.Tensor
    states: torch.Tensor
    logits: torch.Tensor

    @property
    def answers(self) -> torch.Tensor:
        """The token that the model finds most probable after each token. (T,)"""
        return self.logits.argmax(-1)


def parts(config: ModelConfig) -> tuple[str, ...]:
    """What writes into the stream, in this order; layers count from 0. A mixture of experts stands where an MLP does
    and is called one."""
    names = ["embedding"]
    for layer in range(config.num_hidden_layers):
        names += [f"attention {layer}", f"MLP {layer}"]
    return tuple(names)


@torch.no_grad()
def stream(model: LanguageModel, ids: torch.Tensor | list[int]) -> Stream:
    """Read one text, ids (T,), and keep the stream. ValueError for a batch, no token, or one outside the vocabulary."""
    ids = torch.as_tensor(ids, device=model.embed_tokens.weight.device)
    rows = model.config.vocab_size
    if ids.ndim != 1 or not ids.numel():
        raise ValueError(f"ids has shape {tuple(ids.shape)}: the ids of one text are expected, at least one")
    if int(ids.min()) < 0 or int(ids.max()) >= rows:
        raise ValueError(f"ids run from {int(ids.min())} to {int(ids.max())}; the embedding has rows 0 to {rows - 1}")
    with Trace(model) as trace:
        logits = model(ids[None])[0]  # (T, V)
    blocks, additions = trace.residual()[:, 0], trace.additions()[:, :, 0]  # (L + 1, T, C), (L, 2, T, C)
    between = blocks[:-1] + additions[:, 0]  # (L, T, C): after the attention, before the MLP
    states = torch.stack((between, blocks[1:]), dim=1).flatten(0, 1)  # (2L, T, C)
    return Stream(
        parts=parts(model.config),
        ids=ids,
        added=torch.cat((blocks[:1], additions.flatten(0, 1))),
        states=torch.cat((blocks[:1], states)),
        logits=logits.float(),
    )


@torch.no_grad()
def lens(model: LanguageModel, states: torch.Tensor) -> torch.Tensor:
    """The logits if the model stopped at these states: final norm and head. (..., C) -> (..., V), float32.

    At the last stop they are the model's own.
    """
    return model.lm_head(model.norm(states)).float()


def top(model: LanguageModel, found: Stream, k: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """The k most probable next tokens at each stop: probabilities and ids, (P, T, k) each."""
    # one stop after another: all logits of a large model at once would fill the memory
    best = [lens(model, state).softmax(-1).topk(k, dim=-1) for state in found.states]
    return torch.stack([one.values for one in best]), torch.stack([one.indices for one in best])


def probability(model: LanguageModel, found: Stream, tokens: torch.Tensor) -> torch.Tensor:
    """How probable each stop finds `tokens` (T,), one after each token of the text. (P, T)"""
    each = [lens(model, state).softmax(-1).gather(-1, tokens[:, None])[:, 0] for state in found.states]
    return torch.stack(each)


def settled(model: LanguageModel, found: Stream) -> torch.Tensor:
    """The stop from which on the model's answer is the most probable token, at each token. (T,)"""
    says = torch.stack([lens(model, state).argmax(-1) for state in found.states])  # (P, T)
    other = (says != found.answers).long()
    return len(says) - other.flip(0).cumsum(0).eq(0).sum(0)  # P minus how many of the last stops agree


def geometry(found: Stream) -> dict[str, torch.Tensor]:
    """Length and direction of the stream, (P, T) each, in float64:

    length        of the state
    added         length of what this part added
    to_final      cosine of the state to the last one
    to_embedding  cosine of the state to the token's own embedding
    share         the part of the last state that this part wrote, measured along it: the shares of one token sum to 1,
                  and a part that wrote against the last state has a negative one
    """
    added, states = found.added.double(), found.states.double()
    final = states[-1]  # (T, C)
    cosine = torch.nn.functional.cosine_similarity
    return {
        "length": states.norm(dim=-1),
        "added": added.norm(dim=-1),
        "to_final": cosine(states, final.expand_as(states), dim=-1),
        "to_embedding": cosine(states, states[:1].expand_as(states), dim=-1),
        "share": (added * final).sum(-1) / final.square().sum(-1),
    }


@torch.no_grad()
def votes(model: LanguageModel, found: Stream, tokens: torch.Tensor) -> torch.Tensor:
    """What each part added to the logit of `tokens` (T,), above the mean of all logits. (P, T)

    Exact, since the final norm divides all parts by the same number, and the head is linear: the votes of one token of
    the text sum to its logit less the mean one.
    """
    rows = model.lm_head.weight.double()
    rows = rows[tokens] - rows.mean(0)  # (T, C)
    final, norm = found.states[-1].double(), model.norm
    size = (final.square().mean(-1, keepdim=True) + norm.config.eps).sqrt()  # (T, 1)
    return (found.added.double() / size * norm.weight.double() * rows).sum(-1)


def journey(found: Stream, token: int) -> "pd.DataFrame":
    """`geometry` of one token of the text: one row per part."""
    import pandas as pd

    columns = {name: values[:, token].tolist() for name, values in geometry(found).items()}
    return pd.DataFrame(columns, index=pd.Index(found.parts, name="part"))


def said(model: LanguageModel, found: Stream, tokenizer: Tokenizer, token: int, k: int = 5):
    """What the lens says at one token of the text: two DataFrames, the k most probable tokens and their probabilities,
    one row per part, one column per rank."""
    import pandas as pd

    best, which = (values[:, token] for values in top(model, found, k))  # (P, k) each
    look = {"index": pd.Index(found.parts, name="part"), "columns": range(1, k + 1)}
    return pd.DataFrame([pieces(tokenizer, row) for row in which], **look), pd.DataFrame(best.tolist(), **look)


def appearance(model: LanguageModel, prompts: list[Prompt]) -> "pd.Series":
    """How probable the answers are if the model stopped after each part: the mean over prompts."""
    import pandas as pd

    each = []
    for prompt in prompts:
        found = stream(model, prompt.ids)
        each.append(lens(model, found.states[:, -1]).softmax(-1)[:, prompt.answer])
    return pd.Series(torch.stack(each).mean(0).tolist(), index=pd.Index(parts(model.config), name="part"))


@torch.no_grad()
def rescaled(model: LanguageModel, ids: torch.Tensor | list[int], factor: float) -> "pd.DataFrame":
    """What changes when every embedding is multiplied by `factor`, as a share of the length of what was there before.

    One row per part and one for the head. reads: the part's input, after its norm; adds: what it adds to the stream
    (the head: the logits).
    """
    import pandas as pd

    before = stream(model, ids)
    hook = model.embed_tokens.register_forward_hook(lambda module, inputs, output: factor * output)
    try:
        after = stream(model, ids)
    finally:
        hook.remove()
    norms = [norm for block in model.layers for norm in (block.input_layernorm, block.post_attention_layernorm)]
    rows = [
        (_change(norm(old), norm(new)), _change(old_out, new_out))
        for norm, old, new, old_out, new_out in zip(
            (*norms, model.norm),
            before.states,
            after.states,
            (*before.added[1:], before.logits),
            (*after.added[1:], after.logits),
            strict=True,
        )
    ]
    return pd.DataFrame(rows, columns=["reads", "adds"], index=pd.Index([*before.parts[1:], "head"], name="part"))


def _change(old: torch.Tensor, new: torch.Tensor) -> float:
    return float((new - old).double().norm() / old.double().norm())


def eps_share(model: LanguageModel, found: Stream) -> "pd.Series":
    """How much of what stands under the root of the norm after each stop is eps: the mean over the text's tokens."""
    import pandas as pd

    squares = found.states.double().square().mean(-1)  # (P, T)
    eps = model.config.norm.eps
    return pd.Series((eps / (squares + eps)).mean(-1).tolist(), index=pd.Index(found.parts, name="part"))


def vocabulary(configs: dict[str, ModelConfig]) -> "pd.DataFrame":
    """One row per model: the rows of its embedding beside its tokenizer's tokens, as published, and the rows to spare
    (missing where no number of tokens is published); what embedding and head are of all parameters, MTP left out."""
    import pandas as pd

    rows = {}
    for name, config in configs.items():
        counts = sizes.count(config)["total"]
        held, every = int(counts["embedding"] + counts.get("head", 0)), sizes.total(config)
        known = facts.table(name)
        found = known.loc[known.field == "tokenizer_vocabulary", "value"]
        tokens = int(found.iloc[0]) if len(found) else pd.NA
        rows[name] = {
            "tokens": tokens,
            "rows": config.vocab_size,
            "spare": config.vocab_size - tokens,
            "hidden_size": config.hidden_size,
            "head": "the embedding, tied" if config.tie_word_embeddings else "its own",
            "parameters": held,
            "share": held / every,
        }
    whole = dict.fromkeys(("tokens", "rows", "spare", "hidden_size", "parameters"), "Int64")
    return pd.DataFrame(rows).T.astype(whole | {"share": float})
