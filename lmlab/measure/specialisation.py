"""Who reads what: the experts' load by domain of the corpus and by class of token, and how much of either an expert
tells (mutual information, in bits, beside what chance would give)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from lmlab.measure.routing import chosen, mixtures
from lmlab.model import LanguageModel
from lmlab.parts.balancing import load
from lmlab.parts.router import Routing
from lmlab.text.corpus import documents, mixture
from lmlab.text.pieces import piece
from lmlab.text.tokenizer import Tokenizer
from lmlab.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

CLASSES = ("a word", "the rest of a word", "a digit", "a sign", "a blank or line's end", "other")
BATCH, SHUFFLES = 16, 20


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Held-out texts of each domain through the experts: ids and texts (N,), the token and the number of its text;
    domains, one per text; layers: layer -> Routing of all N tokens, text after text."""

    tokenizer: Tokenizer
    ids: torch.Tensor
    texts: torch.Tensor
    domains: tuple[str, ...]
    layers: dict[int, Routing]

    @cached_property
    def labels(self) -> dict[str, "Labels"]:
        """How tokens can be told apart: by the domain of their text, by their own class."""
        names = tuple(dict.fromkeys(self.domains))
        of_text = torch.tensor([names.index(domain) for domain in self.domains])
        known, which = self.ids.unique(return_inverse=True)
        classes = [CLASSES.index(token_class(piece(self.tokenizer, one))) for one in known.tolist()]
        return {"domain": Labels(names, self.texts, of_text), "class": Labels(CLASSES, which, torch.tensor(classes))}


@dataclass(frozen=True)
class Labels:
    """names of the labels; units (N,): what gets its label as a whole (a text its domain, an entry of the vocabulary
    its class); of (U,): the label of each unit."""

    names: tuple[str, ...]
    units: torch.Tensor
    of: torch.Tensor


def token_class(piece: str) -> str:
    """The class of a token, of its piece (text/pieces.py): one of CLASSES."""
    inner = piece.removeprefix("\u00b7")
    if not inner.strip("\u00b7\u21b5"):
        return CLASSES[4]
    if inner.isalpha():
        return CLASSES[0] if inner != piece or inner[0].isupper() else CLASSES[1]
    if inner.isdigit():
        return CLASSES[2]
    special = len(inner) > 2 and inner.startswith("<") and inner.endswith(">")  # or bytes
    return CLASSES[5] if special or any(letter.isalnum() for letter in inner) else CLASSES[3]


@torch.no_grad()
def survey(model: LanguageModel, tokenizer: Tokenizer, tokens: int = 1000, mix: str = "general") -> Survey:
    """Read `tokens` tokens of each domain of a mixture, of texts that no training seed writes, each begun as in
    training by the end token; longer ones than the model was made for are cut. ValueError for a model without experts.
    """
    if not mixtures(model):
        raise ValueError(f"{model.config.name or 'this model'} has no layer with experts: it routes nothing")
    texts = _texts(tokenizer, mix, tokens, model.config.max_position_embeddings)
    found: dict[int, list[Routing]] = {layer: [] for layer in mixtures(model)}
    for start in range(0, len(texts), BATCH):
        rows = [ids for _, ids in texts[start : start + BATCH]]
        longest = max(map(len, rows))
        padded = [[tokenizer.pad] * (longest - len(ids)) + ids for ids in rows]
        block = torch.tensor(padded, device=model.embed_tokens.weight.device)  # (B, T)
        with Trace(model) as trace:
            model.hidden(block, lengths=torch.tensor([*map(len, rows)]))
        for layer, parts in found.items():
            parts.append(trace.routing(layer))
    return Survey(
        tokenizer=tokenizer,
        ids=torch.tensor([one for _, ids in texts for one in ids]),
        texts=torch.tensor([i for i, (_, ids) in enumerate(texts) for _ in ids]),
        domains=tuple(domain for domain, _ in texts),
        layers={layer: Routing(*map(torch.cat, zip(*parts, strict=True))) for layer, parts in found.items()},
    )


def _texts(tokenizer: Tokenizer, mix: str, tokens: int, longest: int) -> list[tuple[str, list[int]]]:
    """(domain, ids) of as many texts as give each domain exactly `tokens` of them; domain after domain."""
    found: dict[str, list[list[int]]] = {domain: [] for domain in mixture(mix)}
    wanted = dict.fromkeys(found, tokens)
    for document in documents(mix, seed=-1):
        left = wanted[document.domain]
        if left:
            ids = [tokenizer.end, *tokenizer.encode(document.text)][: min(left, longest)]
            found[document.domain].append(ids)
            wanted[document.domain] -= len(ids)
        if not any(wanted.values()):
            break
    return [(domain, ids) for domain, texts in found.items() for ids in texts]


def counts(routing: Routing, of: torch.Tensor, number: int) -> torch.Tensor:
    """How often each expert was chosen by tokens of each kind; of (N,) the kind of each token. (number, E)"""
    reads = chosen(routing).to(torch.float64)  # (N, E)
    return torch.zeros(number, reads.shape[1], dtype=torch.float64).index_add(0, of, reads.cpu())


def loads(found: Survey, layer: int, by: str = "domain") -> "pd.DataFrame":
    """The load of each expert among the tokens of one label: one row per label that occurs, one column per expert; 1
    when even. by: "domain" or "class"."""
    import pandas as pd

    names, units, of = _labels(found, by)
    table = counts(found.layers[layer], of[units], len(names))  # (labels, E)
    there = [i for i in range(len(names)) if table[i].any()]
    return pd.DataFrame(load(table[there]).tolist(), index=pd.Index([names[i] for i in there], name=by))


def _labels(found: Survey, by: str) -> tuple[Sequence[str], torch.Tensor, torch.Tensor]:
    if by not in found.labels:
        raise ValueError(f"by={by!r} is not one of {', '.join(found.labels)}")
    labels = found.labels[by]
    return labels.names, labels.units, labels.of


def mutual_information(table: torch.Tensor) -> float:
    """Counts (..., ...) of pairs -> how many bits one of a pair tells about the other, on average."""
    joint = table.double() / table.sum()
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float(torch.where(joint > 0, joint * (joint / apart.clamp(min=1e-300)).log2(), 0.0).sum())


def entropy(shares: torch.Tensor) -> float:
    """In bits, of counts or shares."""
    shares = shares.double() / shares.sum()
    return float(-torch.xlogy(shares, shares).sum() / torch.log(torch.tensor(2.0, dtype=torch.float64)))


def told(found: Survey, layer: int, by: str = "domain") -> "pd.Series":
    """What one of a token's experts tells about its label, in bits.

    bits: mutual information of expert and label over all choices. possible: the label's entropy, if it told all.
    chance: the mean of `bits` when the labels are dealt anew to the texts (or to the entries of the vocabulary), which
    is above 0 for as few of them as there are.
    """
    import pandas as pd

    names, units, of = _labels(found, by)
    each = counts(found.layers[layer], units, len(of))  # (U, E)
    generator = torch.Generator().manual_seed(0)

    def table(labels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(names), each.shape[1], dtype=each.dtype).index_add(0, labels, each)  # (labels, E)

    dealt = [mutual_information(table(of[torch.randperm(len(of), generator=generator)])) for _ in range(SHUFFLES)]
    real = table(of)
    return pd.Series(
        {"bits": mutual_information(real), "possible": entropy(real.sum(1)), "chance": sum(dealt) / len(dealt)}
    )
