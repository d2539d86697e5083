"""Pictures of training: losses against the floor, run by run and in the mean over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lmlab.figures.theme import (
    BLUE,
    FAMILIES,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    family,
    style,
    takeaway,
)

if TYPE_CHECKING:
    import pandas as pd

COLOURS, MARKERS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY), "os^Dv*"
DASHES = ((), (7, 3), (2, 2), (9, 3, 2, 3))


@dataclass(frozen=True)
class Look:
    """How one run is drawn, here and in the view: colour, marker, and lengths of dashes and gaps ((): none)."""

    colour: str
    marker: str
    dash: tuple[int, ...]

    @property
    def linestyle(self):
        return (0, tuple(part / 2 for part in self.dash)) if self.dash else "-"

    def marks(self, size: float, **more) -> dict:
        """For plot: a dashed line's marks are hollow, so that two models of a family differ without lines, too."""
        face = "white" if self.dash else self.colour
        return {"color": self.colour, "marker": self.marker, "markersize": size, "markerfacecolor": face} | more


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Models keep their family's colour and mark, a second one of a family has dashes; other names go by order."""
    names, found, seen = [*names], {}, dict.fromkeys(FAMILIES, 0)
    try:
        for name in names:
            of = family(name)
            found[name] = Look(FAMILY_COLOURS[of], FAMILY_MARKERS[of], DASHES[seen[of] % len(DASHES)])
            seen[of] += 1
    except ValueError:  # not all are models
        places = [(i % len(COLOURS), i % len(DASHES)) for i in range(len(names))]
        found = {name: Look(COLOURS[a], MARKERS[a], DASHES[b]) for name, (a, b) in zip(names, places, strict=True)}
    return found


def arms(
    runs: "pd.DataFrame",
    field: str = "distance_all",
    *,
    title: str,
    unit: str = "nats per token above the floor",
    floor: float | None = None,
    stages: dict[str, int] | None = None,
    logarithmic: bool = False,
    message: str = "",
) -> Figure:
    """`runs`: columns arm, seed, tokens and `field`. The mean of each arm's seeds as a line, each seed as small marks,
    wherever the field was measured. `floor`: a level to draw in; `stages`: name -> tokens at which it begins."""
    measured = runs.dropna(subset=[field])
    with style():
        figure, axes = plt.subplots()
        for arm, look in looks(measured.arm.unique()).items():
            of = measured[measured.arm == arm]
            axes.plot(of.tokens, of[field], linestyle="", **look.marks(4, alpha=0.6))
            mean = of.groupby("tokens")[field].mean()
            axes.plot(mean.index, mean, color=look.colour, linestyle=look.linestyle, label=arm, linewidth=2)
        _mark(axes, floor, stages)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if logarithmic:
            axes.set_yscale("log")
        axes.set(title=title, xlabel="tokens read", ylabel=unit)
        axes.legend(labelcolor=INK)
        if message:
            takeaway(axes, message)
    return figure


def _mark(axes: Axes, floor: float | None, stages: dict[str, int] | None) -> None:
    if floor is not None:
        axes.axhline(floor, color=INK, linestyle="--", linewidth=1.5)
        # on the left, where curves are far above
        axes.text(0, floor, f" the floor, {floor:.3g}", color=INK, va="bottom", transform=_along(axes))
    for name, tokens in (stages or {}).items():
        axes.axvline(tokens, color=INK, linestyle=":", linewidth=1)
        axes.text(tokens, 1, f" {name}", color=INK, va="top", transform=axes.get_xaxis_transform())


def _along(axes: Axes):
    """x as a share of the width, y in data."""
    return axes.get_yaxis_transform()


def by_domain(
    ends: "pd.DataFrame", *, title: str, unit: str = "nats per token above the floor", message: str = ""
) -> Figure:
    """`ends`: one row per run, columns arm, seed and distance_<domain>. A row of the picture per domain, in it the mean
    of each arm as a large mark, each seed as a small one."""
    domains = [column for column in ends.columns if column.startswith("distance_")]
    found = looks(ends.arm.unique())
    with style():
        figure, axes = plt.subplots(figsize=(9, 1.6 + 0.62 * len(domains)))
        for place, (arm, look) in enumerate(found.items()):
            of = ends[ends.arm == arm]
            shift = (place + 1) / (len(found) + 1) - 0.5  # beside each other within the row
            for row, domain in enumerate(domains):
                high = row + 0.8 * shift
                label = arm if row == 0 else None
                axes.plot(of[domain].mean(), high, linestyle="", **look.marks(10, label=label, markeredgewidth=2))
                if len(of) > 1:
                    axes.plot(of[domain], [high] * len(of), linestyle="", **look.marks(4, alpha=0.6))
        axes.axvline(0, color=INK, linestyle="--", linewidth=1.5)
        axes.set_yticks(range(len(domains)), [domain.removeprefix("distance_") for domain in domains])
        axes.invert_yaxis()
        axes.set(title=title, xlabel=unit)
        axes.legend(labelcolor=INK)
        if message:
            takeaway(axes, message)
    return figure


def floors(values: "pd.Series", *, title: str, unit: str = "nats per token", message: str = "") -> Figure:
    """One bar per domain: what a token of it costs at least."""
    with style():
        figure, axes = plt.subplots(figsize=(9, 1.2 + 0.5 * len(values)))
        axes.barh(range(len(values)), values, color=BLUE, height=0.6)
        for row, value in enumerate(values):
            axes.text(value, row, f"  {value:.3f}", va="center")
        axes.set_yticks(range(len(values)), values.index)
        axes.invert_yaxis()
        axes.set_xlim(0, values.max() * 1.15)
        axes.set(title=title, xlabel=unit)
        axes.grid(axis="y", visible=False)
        if message:
            takeaway(axes, message)
    return figure
