"""One look for all figures: large type, colours that everyone can tell apart, and a mark beside each colour.

The families keep their colours and marks everywhere: GPT-OSS, Qwen3, DeepSeek, in this order. Colours: Okabe and Ito,
"Color Universal Design" (2008); amounts are drawn in cividis.
"""

import base64
import io
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442"),
    "#666666",
)
INK = "#222222"  # for words: some of the colours are too light to read
FAMILIES = ("GPT-OSS", "Qwen3", "DeepSeek")
FAMILY_COLOURS = dict(zip(FAMILIES, (BLUE, ORANGE, GREEN), strict=True))
FAMILY_MARKERS = dict(zip(FAMILIES, "os^", strict=True))
FAMILY_HATCHES = dict(zip(FAMILIES, ("", "//", ".."), strict=True))

STYLE = {
    "figure.figsize": (9, 5),
    "figure.dpi": 80,
    "figure.facecolor": "white",  # stays readable on a dark page
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 2.5,
    "lines.markersize": 8,
    "legend.frameon": False,
    "hatch.color": "white",
}


def family(name: str) -> str:
    """The family of a model, by its name: "mini-qwen3-moe" -> "Qwen3"."""
    for start, label in (("gpt-oss", "GPT-OSS"), ("qwen3", "Qwen3"), ("deepseek", "DeepSeek")):
        if start in name:
            return label
    raise ValueError(f"{name!r} belongs to none of {', '.join(FAMILIES)}")


@contextmanager
def style():
    """Draw inside this block for the common look; matplotlib's own settings are untouched outside."""
    with plt.rc_context(STYLE):
        yield


def pale(colour: str) -> tuple[float, float, float]:
    """The colour mixed with twice as much white: opaque, so that no grid shows through."""
    return tuple((part + 2) / 3 for part in to_rgb(colour))


def takeaway(axes: Axes, text: str, below: int = 52) -> None:
    """The one sentence that the figure says, so many points below its axis."""
    axes.annotate(
        text, (0, 0), xytext=(0, -below), xycoords="axes fraction", textcoords="offset points", va="top", color=INK
    )


@dataclass(frozen=True)
class Still:
    """A finished picture with alternative text, for a notebook: seen on GitHub, read aloud by a screen reader."""

    png: bytes
    alt: str

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        return f'<img alt="{escape(self.alt, quote=True)}" src="data:image/png;base64,{data}" style="max-width:100%">'

    def __repr__(self) -> str:
        return self.alt


def still(figure: Figure, alt: str) -> Still:
    """Freeze a figure as PNG. `alt` says in words what it shows, with its numbers."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.15)
    plt.close(figure)
    return Still(buffer.getvalue(), alt)
