"""What the routing view shows under "More": margins, groups and bias, who reads what, pairs, and load over training."""

from dataclasses import dataclass

from lmlab.measure import routing, specialisation
from lmlab.model import LanguageModel
from lmlab.parts.router import Router, Routing
from lmlab.text.tokenizer import Tokenizer
from lmlab.train import loads

NOTHING, MARGINS = "nothing more", "how near each choice was"
STEERED = "groups, bias, shared expert"
READERS, PAIRS, REPLAY = "who reads what", "experts that read together", "load over training"
PANELS = (NOTHING, MARGINS, STEERED, READERS, PAIRS, REPLAY)
TOKENS = 500  # of each domain, that the readers are judged by
KINDS = {"domain": "of a text", "class": "of token"}
COMMAND = "python -m lmlab.train.experiments balancing"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is looked at: one layer with experts, and a text that the model has read."""

    name: str
    model: LanguageModel
    layer: int
    tokens: list[str]
    reading: routing.Reading

    @property
    def router(self) -> Router:
        return self.model.layers[self.layer].mlp.router

    @property
    def trained(self) -> Routing:
        """As the model routes."""
        return self.reading.layers[self.layer]


class Kept:
    """What takes long, by model, once it was asked for: held-out texts that it has read, its recorded trainings."""

    def __init__(self):
        self._surveys: dict[str, specialisation.Survey] = {}
        self._trainings: dict[str, loads.Runs] = {}

    def survey(self, look: Look, tokenizer: Tokenizer) -> specialisation.Survey:
        if look.name not in self._surveys:
            self._surveys[look.name] = specialisation.survey(look.model, tokenizer, TOKENS)
        return self._surveys[look.name]

    def training(self, look: Look) -> loads.Runs:
        if look.name not in self._trainings:
            self._trainings[look.name] = loads.balancing(look.name)
        return self._trainings[look.name]


def expert(number: int) -> str:
    return f"expert {number}"


def quoted(piece: str) -> str:
    return f'"{piece}"'


def panel(state: dict, look: Look, shown: Routing, kept: Kept, tokenizer: Tokenizer) -> tuple[dict, str]:
    """What is drawn besides, and what it says."""
    also = state["also"]
    if also == MARGINS:
        return _margins(look)
    if also == STEERED:
        return _steered(look, shown)
    if also == READERS:
        return _readers(look, kept.survey(look, tokenizer))
    if also == PAIRS:
        return _pairs(look, kept.survey(look, tokenizer))
    return _replay(look, kept.training(look), state["moment"]) if also == REPLAY else ({}, "")


def _margins(look: Look) -> tuple[dict, str]:
    found, by = routing.margins(look.router, look.trained).double(), routing.chooses_by(look.router)
    values = [None if value == float("inf") else round(value, 5) for value in found.tolist()]
    strip = {"title": f"margin of the choice, in {by}: what the last chosen has more than the best other"}
    nearest = int(found.argmin())
    return {"strip": strip | {"values": values}}, (
        f"As trained it chooses by {by}. The nearest choice is that of {quoted(look.tokens[nearest])}, token "
        f"{nearest + 1}: {found[nearest]:.2g} between the last chosen expert and the best that was not; the median is "
        f"{found.median():.2g}."
    )


def _steered(look: Look, shown: Routing) -> tuple[dict, str]:
    router = look.router
    if not routing.has_bias(router):
        return (
            {},
            f"The router of {look.name} has no groups and no bias, and no shared expert stands beside its experts.",
        )
    free, bias = routing.without_bias(router, look.trained), router.e_score_correction_bias
    most, least = int(bias.argmax()), int(bias.argmin())
    other = look.trained if shown is not look.trained else free
    moved = (routing.chosen(shown) & ~routing.chosen(other)).nonzero().tolist()  # (token, expert) pairs
    kept = routing.kept_groups(router, look.trained)  # (N, G)
    config, differ = router.config, int(routing.differs(look.trained, free).sum())
    data = {"moved": moved, "out": [] if shown is not look.trained else (~kept).T.tolist()}
    blank = " (the others are left blank)" if data["out"] else ""
    words = (
        f"The experts of a token come from the best {config.topk_group} of {config.n_group} groups{blank}. "
        f"The bias runs from {bias[least]:.3f} ({expert(least)}) to {bias[most]:.3f} ({expert(most)}); without "
        f"it {differ} of {len(look.tokens)} tokens would go elsewhere (framed), and the busiest expert would read "
        f"{routing.imbalance(free):.2f} times its even share in place of {routing.imbalance(look.trained):.2f}. It is "
        "in the choice alone, never in a weight."
    )
    if look.layer in look.reading.added:
        chosen, shared = look.reading.added[look.layer].double().mean(1).tolist()
        words += (
            f" What the shared expert adds to a token has length {shared:.3g}, the chosen ones together {chosen:.3g}."
        )
    return data, words


def _readers(look: Look, found: specialisation.Survey) -> tuple[dict, str]:
    grids, said = [], []
    for by, of in KINDS.items():
        table, told = (ask(found, look.layer, by) for ask in (specialisation.loads, specialisation.told))
        cells = table.to_numpy()
        grids.append(
            {
                "title": f"load of each expert by {by} {of}: 1 is even",
                "rows": [*table.index],
                "columns": [expert(e) for e in table.columns],
                "cells": cells.round(4).tolist(),
                "texts": [[f"{value:.1f}" for value in row] for row in cells],
                "scale": float(cells.max().round(4)),
            }
        )
        said.append(
            f"{told.bits:.2f} of the {told.possible:.2f} bits about the {by} {of} ({told.chance:.2f} by chance)"
        )
    return {"grids": grids}, (
        f"As trained, over {len(found.ids):,} tokens of {len(found.domains)} texts that it was not trained on, one "
        f"expert of a token tells {' and '.join(said)}."
    )


def _pairs(look: Look, found: specialisation.Survey) -> tuple[dict, str]:
    shares = routing.together(found.layers[look.layer]).double()  # (E, E)
    experts, taken = len(shares), look.trained.indices.shape[1]
    off, even = shares.clone().fill_diagonal_(-1), (taken - 1) / max(experts - 1, 1)
    i, j = divmod(int(off.argmax()), experts)
    grid = {
        "title": "of the tokens that the row's expert reads, the share that the column's reads, too",
        "rows": [expert(e) for e in range(experts)],
        "columns": [expert(e) for e in range(experts)],
        "cells": (shares.clone().fill_diagonal_(0) * 1e4).round().div(1e4).tolist(),
        "texts": [["" if a == b else f"{shares[a, b]:.0%}" for b in range(experts)] for a in range(experts)],
        "scale": float((off.max() * 1e4).round() / 1e4),
    }
    return {"grids": [grid]}, (
        f"As trained, over {len(found.ids):,} tokens of held-out texts: of those that {expert(i)} reads, "
        f"{off[i, j]:.0%} are read by {expert(j)}, too; drawn evenly, it would be {even:.0%}."
    )


def _replay(look: Look, found: loads.Runs, moment: int) -> tuple[dict, str]:
    if not found:
        return {}, f"No training of {look.name} with and without balancing is recorded here yet: {COMMAND} makes them."
    row = loads.row(look.model.config, look.layer)
    longest = max(records[-1].tokens for seeds in found.values() for records in seeds)
    at = round(moment / 100 * longest)
    lines, bars, said = [], [], []
    for way, seeds in found.items():
        points, ranks = loads.mean_curve(seeds, row), loads.ranked(seeds, row, at)
        lines.append(
            {"name": way, "points": points, "seeds": [loads.busiest(records, row) for records in seeds]},
        )
        bars.append({"name": way, "values": [round(one, 4) for one in ranks]})
        runs = f"{len(seeds)} run{'s' * (len(seeds) != 1)}"
        said.append(f"{way} {ranks[0]:.2f} times its even share, the least busy {ranks[-1]:.2f} times ({runs})")
    return {"training": {"lines": lines, "bars": bars, "at": at, "longest": longest}}, (
        f"After {at:,} tokens of training the busiest expert of layer {look.layer} reads {'; '.join(said)}."
    )
