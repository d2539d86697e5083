"""Pictures of a model's parts: as nested boxes, or to scale, with areas in proportion to parameters."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lmlab.figures.theme import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, pale, style, takeaway

if TYPE_CHECKING:
    import pandas as pd

Box = tuple[float, float, float, float]  # x, y, width, height; y downwards
KINDS = {"attention": BLUE, "MLP": ORANGE, "embedding": GREEN, "norm": GREY, "layers": GREY, "MTP": PURPLE}


def kind(path: str) -> str:
    """Which colour a part has: that of the largest part it belongs to."""
    names = path.split(".")
    if names[0].startswith("mtp"):
        return "MTP"
    if "self_attn" in names:
        return "attention"
    if "mlp" in names:
        return "MLP"
    if names[0] in ("embed_tokens", "lm_head"):
        return "embedding"
    return "norm" if "norm" in names[-1] else "layers"


def short(n: float) -> str:
    """116829156672 -> "116.8 B": four digits, three below a thousand."""
    for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if n >= size:
            return f"{n / size:.4g} {name}"
    return f"{n:.3g}"


def visible(table: "pd.DataFrame", opened: list[str]) -> list[str]:
    """The paths that are seen when the parts in `opened` are open: those whose parents are all open."""
    seen: list[str] = []
    for path, parent in table["parent"].items():
        if not parent or (parent in opened and parent in seen):
            seen.append(path)
    return seen


def tiles(values: list[float], box: Box) -> list[Box]:
    """Rectangles whose areas are as `values`, which fill `box`, as square as can be (Bruls, Huizing and van Wijk,
    "Squarified treemaps", 2000). `values` from large to small, all above 0."""
    x, y, width, height = box
    scale, rest, placed = width * height / sum(values), list(values), []

    def worst(row: list[float], side: float) -> float:
        total = sum(row) * scale
        return max(side**2 * row[0] * scale / total**2, total**2 / (side**2 * row[-1] * scale))

    while rest:
        side, n = min(width, height), 1
        while n < len(rest) and worst(rest[: n + 1], side) <= worst(rest[:n], side):
            n += 1
        thick, along = sum(rest[:n]) * scale / side, 0.0
        for value in rest[:n]:
            long = value * scale / thick
            placed.append((x, y + along, thick, long) if width >= height else (x + along, y, long, thick))
            along += long
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
        rest = rest[n:]
    return placed


def areas(table: "pd.DataFrame") -> dict[str, Box]:
    """path -> its place in a square of side 1, with an area in proportion to its parameters, inside its parent's;
    nothing for what has none. `table`: columns parent and parameters, by path, parents first."""
    inside: dict[str, list[str]] = {}
    for path, parent in table["parent"].items():
        if table.at[path, "parameters"] > 0:
            inside.setdefault(parent, []).append(path)
    found: dict[str, Box] = {}
    for path in table.index:
        for one in inside.get("", []) if path == table.index[0] else []:
            found[one] = (0.0, 0.0, 1.0, 1.0)
        children = sorted(inside.get(path, []), key=lambda one: -table.at[one, "parameters"])
        if children and path in found:
            boxes = tiles([float(table.at[one, "parameters"]) for one in children], found[path])
            found |= dict(zip(children, boxes, strict=True))
    return found


def boxes(
    tables: dict[str, "pd.DataFrame"],
    opened: list[str],
    marks: dict[str, dict[str, str]] | None = None,
    message: str = "",
) -> Figure:
    """Each model as nested boxes, one row for each part that is seen: before its name how many there are, behind it the
    parameters of all of them in the model. `tables`: columns parent, title, copies, parameters, by path. `marks`:
    name -> path -> "only" or "other", where models differ."""
    rows = {name: visible(table, opened) for name, table in tables.items()}
    longest, lowest = max(map(len, rows.values())), []
    with style():
        size = (5.6 * len(tables), 0.8 + 0.36 * longest)
        figure, every = plt.subplots(1, len(tables), figsize=size, squeeze=False)
        for axes, (name, table) in zip(every[0], tables.items(), strict=True):
            lowest.append(_column(axes, table, rows[name], (marks or {}).get(name, {})))
            axes.set_title(name, fontsize=14)
        for axes in every[0]:
            axes.set(xlim=(-0.005, 1.005), ylim=(max(lowest) + 0.2, -0.1))
        figure.tight_layout()
        if message:
            takeaway(every[0][0], message, below=12)
    return figure


ROOM = 0.16  # below the last part of what holds it, in rows
SIGNS = {"only": "+ ", "other": "\u2260 "}


def _column(axes: Axes, table: "pd.DataFrame", rows: list[str], marks: dict[str, str]) -> float:
    """Draw one model; how far down it reaches, in rows."""
    axes.axis("off")
    depth, tops, y = {"": -1}, [], 0.0
    for path in rows:
        level = depth[path] = depth[table.at[path, "parent"]] + 1
        if tops:
            y += 1 + ROOM * max(0, depth[rows[len(tops) - 1]] - level)  # below what has ended
        tops.append(y)
    for row, path in enumerate(rows):
        last = next((i for i in range(row + 1, len(rows)) if depth[rows[i]] <= depth[path]), len(rows)) - 1
        inset, colour, mark = 0.022 * depth[path], KINDS[kind(path)], marks.get(path)
        height = tops[last] + 0.86 + ROOM * (depth[rows[last]] - depth[path]) - tops[row]
        axes.add_patch(
            Rectangle(
                (inset, tops[row]),
                1 - 2 * inset,
                height,
                facecolor="white" if kind(path) == "layers" else pale(colour),
                edgecolor=RED if mark in SIGNS else colour,
                linewidth=2.4 if mark == "only" else 1,
                linestyle="--" if mark == "only" else "-",
            )
        )
        copies, held = table.at[path, "copies"], table.at[path, "parameters"]
        words = f"{SIGNS.get(mark, '')}{f'{copies} x ' if copies > 1 else ''}{table.at[path, 'title']}"
        axes.text(inset + 0.012, tops[row] + 0.43, words, va="center", color=INK, fontsize=11)
        number = short(held) if held else "-"
        axes.text(1 - inset - 0.012, tops[row] + 0.43, number, va="center", ha="right", color=INK, fontsize=11)
    return y + 1 + ROOM * depth[rows[-1]]


def to_scale(tables: dict[str, "pd.DataFrame"], opened: list[str], message: str = "") -> Figure:
    """Squares whose areas are the models' parameters, all on one scale, and in them the parts that are seen. `tables`:
    as for `boxes`, and active: the share of a part that one token uses is solid, the rest pale."""
    sides = {name: table["parameters"].iloc[0] ** 0.5 for name, table in tables.items()}
    most, gap = max(sides.values()), 0.16
    with style():
        wide = sum(max(side / most, 0.45) + gap for side in sides.values())
        figure, axes = plt.subplots(figsize=(5.2 * wide, 6.2))
        left = 0.0
        for name, table in tables.items():
            side = sides[name] / most
            _square(axes, table, visible(table, opened), (left, 1 - side, side))
            axes.text(left, 1.03, f"{name}\n{short(table['parameters'].iloc[0])}", va="top", color=INK, fontsize=13)
            left += max(side, 0.45) + gap
        axes.set(xlim=(-0.01, left), ylim=(1.2, -0.01), aspect="equal")
        axes.axis("off")
        figure.tight_layout()
        if message:
            takeaway(axes, message, below=4)
    return figure


def _square(axes: Axes, table: "pd.DataFrame", rows: list[str], place: tuple[float, float, float]) -> None:
    left, top, side = place
    found, parents = areas(table), set(table.loc[rows, "parent"])
    for path in rows:
        if path not in found or path in parents:  # a part whose own parts are seen is drawn by them
            continue
        x, y, width, height = (side * one for one in found[path])
        colour, share = KINDS[kind(path)], table.at[path, "active"] / table.at[path, "parameters"]
        axes.add_patch(Rectangle((left + x, top + y), width, height, facecolor=pale(colour), linewidth=0))
        axes.add_patch(Rectangle((left + x, top + y), width * share, height, facecolor=colour, linewidth=0))
        axes.add_patch(Rectangle((left + x, top + y), width, height, fill=False, edgecolor="white", linewidth=0.8))
        if width > 0.3 and height > 0.06:
            words = table.at[path, "title"]
            axes.text(left + x + 0.012, top + y + 0.04, words, color=INK, fontsize=10, clip_on=True)
