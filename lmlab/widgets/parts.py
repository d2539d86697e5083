"""What the architecture view tells of each part: numbers in words, shapes, and what stands behind it."""

from functools import lru_cache

from lmlab.configuration import ModelConfig
from lmlab.families import config as preset
from lmlab.figures.architecture import areas, kind, short
from lmlab.measure import sizes
from lmlab.measure.anatomy import Node
from lmlab.measure.architecture import ONLY, SAME, compare, role, table, tree, walk
from lmlab.measure.memory import released_format
from lmlab.measure.provenance import source, vendor_facts
from lmlab.widgets.pasted import NAME, pasted

LENGTHS = [2**k for k in range(18)]
STEPS = ["writing one token", "reading the text"]
LONG = 80  # characters of a vendor's value that are shown


@lru_cache(maxsize=16)
def reading(names: tuple[str, ...], text: str, stored: str, step: str, length: int, batch: int) -> dict:
    """All that the page draws and says of these models, for every part. `text` is a pasted config.json, which goes by
    the name of pasted.NAME; ValueError says what is wrong with it."""
    configs, notes = {}, []
    for name in names:
        if name != NAME:
            configs[name] = preset(name)
        elif not text.strip():
            raise ValueError(f"nothing is pasted yet: paste the text of a config.json under More to see {NAME}")
        else:
            configs[name], odd = pasted(text)
            notes += [f"Note: {one}." for one in odd]
    tokens, context = (1, length) if step == STEPS[0] else (length, 0)
    formats = {n: released_format(c) if stored == "as released" else "bf16" for n, c in configs.items()}
    trees = {name: tree(config, formats[name], tokens, context) for name, config in configs.items()}
    teller = _Teller(configs, trees, formats, (tokens, context), {"B": batch, "T": tokens, "N": batch * tokens})
    behind = {name: _behind(config, name) for name, config in configs.items()}
    return {
        "lead": " ".join(lead(name, config) for name, config in configs.items()),
        "notes": notes,
        "columns": [teller.column(name, behind[name][0]) for name in configs],
        "codes": {place: code for _, codes, _ in behind.values() for place, code in codes.items()},
        "facts": {key: fact for _, _, found in behind.values() for key, fact in found.items()},
    }


def lead(name: str, config: ModelConfig) -> str:
    """The one thing that the picture says of a model."""
    held, active = sizes.total(config), sizes.active(config)
    counts = sizes.count(config)["total"]
    share = counts.get("experts", 0) / held
    experts = f", and {share:.0%} of all are experts" if share else ""
    used = f", {short(active)} of them active for one token" if active < held else ""
    beside = f", besides {short(counts['mtp'])} of multi-token prediction" if "mtp" in counts else ""
    return f"{name}: {config.num_hidden_layers:,} layers, {short(held)} parameters{used}{experts}{beside}."


@lru_cache(maxsize=32)
def _behind(config: ModelConfig, name: str) -> tuple[dict, dict, dict]:
    """path -> (place of its source, keys of its facts); the code by place; the facts by key."""
    found, codes, told = {}, {}, {}
    root = tree(config)
    parents = {child.path: node for node, _ in walk(root) for child in node.children}
    for node, _ in walk(root):
        place, code = source(node, parents.get(node.path))
        codes[place] = code
        keys = []
        for row in vendor_facts(name, node.path):
            keys.append(f"{name}/{row['field']}")
            value = row["value"] if len(row["value"]) <= LONG else f"{row['value'][:LONG]}..."
            unit = f" {row['unit']}" if row["unit"] else ""
            told[keys[-1]] = f"{row['field']}: {value}{unit} ({row['source']}, {row['locator']}; {row['status']})"
        found[node.path] = place, keys
    return found, codes, told


def size(held: float) -> str:
    """Bytes in words; 1 GB is 10^9."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if held >= unit:
            return f"{held / unit:.4g} {name}"
    return f"{held:,} bytes"


def work(flops: float) -> str:
    """Floating-point operations in words."""
    for unit, name in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP")):
        if flops >= unit:
            return f"{flops / unit:.4g} {name}"
    return f"{flops:.3g} FLOP"


class _Teller:
    """Tells the parts of several models, whose trees are of one pass."""

    def __init__(
        self, configs, trees: dict[str, Node], formats: dict[str, str], passed: tuple[int, int], letters: dict
    ):
        self.configs, self.trees, self.formats, self.letters = configs, trees, formats, letters
        self.tokens, self.context = passed
        self.marks = compare(trees) if len(trees) > 1 else {}
        self.paths, self.roles = {}, {}
        for name, root in trees.items():
            self.paths[name] = {node.path for node, _ in walk(root)}
            self.roles[name] = {role(path): path for path in self.paths[name]}

    def column(self, name: str, behind: dict) -> dict:
        """One model: its parts from the top, parents first."""
        root = self.trees[name]
        rows = table(root)
        boxes, depth, layers = areas(rows), {"": -1}, {"": ""}
        nodes = []
        for node, times in walk(root):
            parent = rows.at[node.path, "parent"]
            depth[node.path] = depth[parent] + 1
            layers[node.path] = node.settings.get("layers", layers[parent])
            place, facts = behind[node.path]
            mark = self.marks.get(name, {}).get(node.path, SAME)
            beside = [self.beside(other, node.path) for other in self.trees]
            nodes.append(
                {
                    "id": f"{name}:{node.path}",
                    "path": node.path,
                    "parent": parent,
                    "depth": depth[node.path],
                    "title": f"{node.copies:,} x {node.title}" if node.copies > 1 else node.title,
                    "kind": kind(node.path),
                    "mark": mark,
                    "number": short(node.parameters) if node.parameters else "",
                    "active": node.active / node.parameters if node.parameters else 0,
                    "area": boxes.get(node.path),
                    "folds": bool(node.children),
                    "words": self.words(name, node, times, layers[node.path], mark, beside),
                    "cells": self.cells(name, node, times),
                    "beside": beside,
                    "place": place,
                    "facts": facts,
                }
            )
        return {"name": name, "parameters": root.parameters, "total": short(root.parameters), "nodes": nodes}

    def beside(self, other: str, path: str) -> str | None:
        """The same part of another model: at the same path, or in another kind of layer."""
        found = path if path in self.paths[other] else self.roles[other].get(role(path))
        return found and f"{other}:{found}"

    def shape(self, shape: tuple | None) -> str:
        return " x ".join(f"{self.letters.get(one, one):,}" for one in shape) if shape else ""

    def cells(self, name: str, node: Node, times: int) -> list[list[str]]:
        """What the table says of one part: [what, value] pairs."""
        of_all, each = times * node.copies, node.copies or 1
        found = {
            "copies in the model": f"{of_all:,}",
            "parameters, one copy": f"{node.parameters // each:,}",
            "parameters, all copies": f"{times * node.parameters:,}",
            "active for one token": f"{times * node.active:,}",
            "bytes, all copies": f"{size(times * node.bytes)}, {self.formats[name]}",
            "work for a token": work(times * node.flops / self.tokens) if node.flops else "",
            "weight": self.shape(node.weight),
            "output": self.shape(node.output),
        }
        found |= {key: f"{value:,}" if type(value) is int else f"{value}" for key, value in node.settings.items()}
        return [[key, value] for key, value in found.items() if value]

    def words(self, name: str, node: Node, times: int, layers: str, mark: str, beside: list) -> str:
        root, copies, held = self.trees[name], times * node.copies, times * node.parameters
        inside = ".".join(node.path.split(".")[1:-1])
        said = f"In {name}, {node.title}{f' in {inside}' if inside else ''}{f' of layers {layers}' if layers else ''}"
        if node is root:
            said = f"{name} as a whole{', multi-token prediction included' if self.configs[name].mtp else ''}"
        if held:
            many = f"{copies:,} copies of {short(held / copies)} make " if copies > 1 else ""
            share = held / root.parameters
            percent = f", {share:.1%} of the model" if share >= 0.001 else ", less than 0.1% of the model"
            active = short(times * node.active) if node.active else "none"
            used = f", {active} of them active for one token" if node.active < node.parameters else ""
            stored = f"{size(times * node.bytes)} as {self.formats[name]}"
            said += f": {many}{short(held)} parameters{'' if node is root else percent}{used}; {stored}."
        else:
            said += ": no parameters of its own."
        if node.flops:
            doing = f"Writing one token after {self.context:,}" if self.context else f"Reading {self.tokens:,} tokens"
            cost, whole = times * node.flops / self.tokens, root.flops / self.tokens
            share = "" if node is root else f", {cost / whole:.1%} of all"
            said += f" {doing} costs {work(cost)} a token here{share}."
        return " ".join([said, *self.differs(mark, beside)])

    def differs(self, mark: str, beside: list) -> list[str]:
        """How the part stands to the other models, as a sentence where there are any."""
        if len(self.trees) == 1:
            return []
        lacking = [other for other, found in zip(self.trees, beside, strict=True) if not found]
        if mark == ONLY:
            return [f"{' and '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no such part."]
        return ["The models are alike in this part." if mark == SAME else "The models differ in this part."]
