"""The cost view's tables: what fits, how fast at most, and the experts apart."""

from dataclasses import dataclass
from functools import cache

from lmlab.configuration import ModelConfig
from lmlab.figures.theme import family
from lmlab.measure import cost, sizes
from lmlab.measure.cost import Cost, Pass
from lmlab.measure.memory import GB


@dataclass(frozen=True)
class Row:
    """A model that was chosen: its number in the pictures, and its costs."""

    number: int
    name: str
    cost: Cost
    write: Pass
    read: Pass

    @property
    def label(self) -> str:
        return f"{self.number} {self.name}"

    @property
    def looks(self) -> dict:
        return {"number": self.number, "label": self.label, "family": family(self.name), "fits": self.cost.fits}


@cache
def _sizes(config: ModelConfig) -> tuple[int, int]:
    return sizes.total(config), sizes.active(config)


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def longest(row: Row) -> str:
    return "no limit" if row.cost.longest is None else f"{row.cost.longest:,}"


def fits(found: list[Row]) -> dict:
    columns = ["Model", "Parameters, B", "Active, B", "Weights, GB", "Cache, GB", "Free, GB", "Longest text, tokens"]
    cells = [
        [
            row.label,
            *(f"{n / 1e9:,.3g}" if n < 1e11 else f"{n / 1e9:,.0f}" for n in _sizes(row.cost.config)),
            f"{row.cost.weights / GB:,.1f} ({row.cost.stored})",
            short(row.cost.cache / GB),
            f"{row.cost.free / GB:,.1f}" if row.cost.fits else "does not fit",
            longest(row),
        ]
        for row in found
    ]
    return {"title": "What fits", "columns": columns, "rows": cells}


def speeds(what: str, found: list[Row], passes: list[Pass]) -> dict:
    columns = ["Model", "GFLOP/token", "FLOP/byte", "tokens/s", "bound by"]
    cells = []
    for row, done in zip(found, passes, strict=True):
        speed = [short(done.tokens_per_second), done.bound] if row.cost.fits else ["-", "-"]
        cells.append([row.label, short(done.flops / done.tokens / 1e9), short(done.intensity), *speed])
    return {"title": what, "columns": columns, "rows": cells}


def experts(found: list[Row], batch: int) -> dict:
    columns = [
        "Model",
        "Experts a layer",
        "for one token",
        "for one step",
        "All, GB",
        "for one token, GB",
        "for one step, GB",
    ]
    cells = []
    for row in found:
        if moe := cost.mixture(row.cost.config):
            held = row.cost.experts(batch)
            counts = [f"{moe.num_experts}", f"{moe.num_experts_per_tok}", f"{row.cost.touched(batch):.1f}"]
            cells.append([row.label, *counts, *(f"{held[part] / GB:,.1f}" for part in ("total", "active", "touched"))])
    return {"title": "Experts: in memory, used by one token, read by one step", "columns": columns, "rows": cells}
