"""Pictures of the residual stream: one token's way through a model, and where in the stream an answer appears."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from lmlab.figures.theme import (
    BLUE,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    GREY,
    INK,
    ORANGE,
    RED,
    family,
    style,
    takeaway,
)

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"embedding": GREY, "attention": BLUE, "MLP": ORANGE}


def journey(
    path: "pd.DataFrame", tokens: "pd.DataFrame", probabilities: "pd.DataFrame", title: str, message: str = ""
) -> Figure:
    """One token's way, part by part. `path`: columns length, added, to_final, to_embedding, share, one row per part.
    `tokens` and `probabilities`: what the logit lens says, one row per part, one column per rank."""
    with style():
        figure, every = plt.subplots(4, 1, figsize=(12, 8), sharex=True, height_ratios=(1, 1, 1, 1.7), squeeze=True)
        length, direction, share, lens = every
        places = range(len(path))
        colours = [KINDS[part.split()[0]] for part in path.index]
        length.bar(places, path["added"], 0.4, color=colours)
        length.plot(places, path["length"], "o-", color=INK, linewidth=1.5, markersize=6)
        _heading(length, "length of the stream (dots), and of what each part adds to it (bars)")
        direction.plot(places, path["to_final"], "o-", color=BLUE, linewidth=1.5, markersize=6)
        direction.plot(places, path["to_embedding"], "s--", color=GREY, linewidth=1.5, markersize=6)
        direction.set_ylim(min(-0.05, 1.1 * path["to_final"].min(), 1.1 * path["to_embedding"].min()), 1.05)
        _heading(direction, "direction: cosine to the last state (dots), to the token's own embedding (squares)")
        share.bar(places, path["share"], 0.4, color=colours)
        share.axhline(0, color=INK, linewidth=0.8)
        _heading(share, "the share of the last state that each part wrote; together they are 1")
        _lens(lens, tokens, probabilities)
        lens.set_xticks(places, path.index, fontsize=11)
        figure.suptitle(title, x=0.06, ha="left", fontweight="bold", fontsize=15)
        figure.tight_layout()
        if message:
            takeaway(lens, message)
    return figure


def _heading(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=12, fontweight="normal", color=INK)
    axes.tick_params(labelsize=11)
    axes.grid(axis="x", visible=False)


def _lens(axes: Axes, tokens: "pd.DataFrame", probabilities: "pd.DataFrame") -> None:
    """A cell for each part and rank, the deeper the more probable; what is said in the end is framed."""
    colours, ranks = plt.get_cmap("cividis"), len(tokens.columns)
    said = tokens.iloc[-1, 0]
    for i in range(len(tokens)):
        for k in range(ranks):
            token, p = tokens.iloc[i, k], float(probabilities.iloc[i, k])
            framed = token == said
            axes.add_patch(
                Rectangle(
                    (i - 0.48, k - 0.46), 0.96, 0.92, facecolor=colours(p), edgecolor=RED, linewidth=3 if framed else 0
                )
            )
            ink, weight = ("black" if p > 0.45 else "white"), ("bold" if framed else "normal")
            axes.text(i - 0.44, k, token[:9], va="center", color=ink, weight=weight, fontsize=10)
            axes.text(i + 0.44, k, f"{p:.0%}", va="center", ha="right", color=ink, weight=weight, fontsize=10)
    axes.set(xlim=(-0.6, len(tokens) - 0.4), ylim=(ranks - 0.5, -0.5), yticks=range(ranks))
    axes.set_yticklabels([f"{k + 1}" for k in range(ranks)])
    axes.grid(visible=False)
    _heading(axes, "the logit lens: what it would say if it stopped here, by rank (framed: what it says in the end)")
    axes.grid(visible=False)


def appearance(panels: dict[str, "pd.DataFrame"], guesses: dict[str, float], message: str = "") -> Figure:
    """How probable the right answer is where the model stops. `panels`: title -> one row per part, one column per
    model. `guesses`: title -> how often a guess is right, drawn as a line."""
    with style():
        figure, every = plt.subplots(1, len(panels), figsize=(12, 4.6), sharey=True, squeeze=False)
        for axes, (title, found) in zip(every[0], panels.items(), strict=True):
            seen: set[str] = set()
            for name in found.columns:
                which = family(name)
                colour, marker = FAMILY_COLOURS[which], FAMILY_MARKERS[which]
                dash = "--" if which in seen else "-"
                axes.plot(
                    range(len(found)),
                    found[name],
                    color=colour,
                    marker=marker,
                    linestyle=dash,
                    markersize=6,
                    label=name,
                )
                seen.add(which)
            guess = guesses[title]
            axes.axhline(guess, color=INK, linewidth=1.5, linestyle=":")
            axes.text(0, guess + 0.015, f"a guess among those told: {guess:.0%}", color=INK, fontsize=11)
            axes.set_xticks(range(len(found)), found.index, rotation=40, ha="right", fontsize=11)
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_title(title, fontsize=13)
        every[0][0].set_ylabel("probability of the answer")
        every[0][0].legend(labelcolor=INK, fontsize=11)
        figure.tight_layout()
        if message:
            takeaway(every[0][0], message, below=86)
    return figure
