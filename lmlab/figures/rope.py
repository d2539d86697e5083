"""Pictures of RoPE: how long each clock hand takes for a turn, and what a score sees of two positions."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lmlab.figures.theme import BLUE, GREY, INK, RED, style, takeaway

if TYPE_CHECKING:
    import pandas as pd

MARKS = (("o", BLUE), ("s", RED), ("^", GREY))


def wavelengths(hands: "pd.DataFrame", length: int, message: str = "") -> Figure:
    """`hands`: a column wavelength, one row per pair. Hands that finish a turn within `length` tokens are dots, the
    others triangles."""
    with style():
        figure, axes = plt.subplots(figsize=(9, 4.6))
        whole = hands.wavelength <= length
        for part, marker, colour, label in (
            (whole, "o", BLUE, f"{int(whole.sum())} hands that finish a turn"),
            (~whole, "^", RED, f"{int((~whole).sum())} hands that do not"),
        ):
            axes.semilogy(hands.index[part], hands.wavelength[part], marker, color=colour, label=label)
        axes.axhline(length, color=INK, linestyle="--", linewidth=1.5)
        axes.text(0, length * 1.25, f"the text: {length:,} tokens", color=INK)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set(title="One turn of each hand", xlabel="hand (pair of dimensions)", ylabel="tokens for a whole turn")
        axes.legend(loc="lower right")
        if message:
            takeaway(axes, message)
    return figure


def score_by_distance(scores: "pd.DataFrame", message: str = "") -> Figure:
    """`scores`: one row per distance between query and key, one column per place of the query; three at most."""
    if len(scores.columns) > len(MARKS):
        raise ValueError(f"{len(scores.columns)} places are too many to tell apart: give {len(MARKS)} at most")
    with style():
        figure, axes = plt.subplots(figsize=(9, 4.2))
        for i, (name, (marker, colour)) in enumerate(zip(scores.columns, MARKS, strict=False)):
            # the first is a line, the others are marks upon it
            line, fill = ("none", "none") if i else ("-", "full")
            axes.plot(
                scores.index,
                scores[name],
                linestyle=line,
                linewidth=1.2,
                marker=marker,
                markevery=(4 * i, 60),
                fillstyle=fill,
                color=colour,
                label=name,
            )
        axes.set(title="One query, one key, moved apart", xlabel="distance, tokens", ylabel="score")
        axes.legend(title="the query stands at")
        if message:
            takeaway(axes, message)
    return figure
