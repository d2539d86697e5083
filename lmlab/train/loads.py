"""How evenly the experts were used while a miniature learned: the recorded runs of the experiment `balancing`."""

from collections.abc import Sequence
from statistics import fmean

from lmlab.configuration import ModelConfig
from lmlab.families import MINIATURES, config
from lmlab.parts.moe import MoEConfig
from lmlab.train.pretraining import Record
from lmlab.train.runs import POINTS, recorded

BALANCED, UNBALANCED = "balanced", "unbalanced"
SPARSE = tuple(name for name in MINIATURES if any(isinstance(block.mlp, MoEConfig) for block in config(name).blocks))

Runs = dict[str, list[list[Record]]]  # balanced or unbalanced -> the records of each seed


def balancing(model: str) -> Runs:
    """The recorded runs of one model, those with records of each expert's load; {} if there are none."""
    try:
        every = recorded("balancing")
    except FileNotFoundError:
        return {}
    found: Runs = {}
    for (arm, _), records in every.items():
        name, _, way = arm.rpartition("-")
        kept = [record for record in records if record.loads]
        if name == model and kept:
            found.setdefault(way, []).append(kept)
    return dict(sorted(found.items()))  # balanced first


def row(model: ModelConfig, layer: int) -> int:
    """Which of a record's `loads` is that of a layer. ValueError for one without experts."""
    sparse = [i for i, block in enumerate(model.blocks) if isinstance(block.mlp, MoEConfig)]
    if layer not in sparse:
        raise ValueError(f"layer {layer} has no experts; layers that have: {sparse}")
    return sparse.index(layer)


def busiest(records: Sequence[Record], row: int) -> list[tuple[int, float]]:
    """(tokens, the busiest expert's load over the mean) in one layer, of at most about `POINTS` points: where there are
    more records, each is the mean of several neighbours."""
    together = -(-len(records) // POINTS)
    pieces = [records[i : i + together] for i in range(0, len(records), together)]
    return [(some[-1].tokens, fmean(max(record.loads[row]) for record in some)) for some in pieces]


def mean_curve(runs: Sequence[Sequence[Record]], row: int) -> list[tuple[int, float]]:
    """`busiest`, the mean over the seeds, as far as all of them go."""
    curves = [busiest(records, row) for records in runs]
    return [(points[0][0], fmean(value for _, value in points)) for points in zip(*curves, strict=False)]


def ranked(runs: Sequence[Sequence[Record]], row: int, tokens: int) -> list[float]:
    """The load of the busiest expert, of the next, and so on, around a moment of the training: each expert's mean over
    the last twentieth of the run until then, in order; the mean over the seeds, whose experts have nothing else in
    common."""
    seeds = [sorted(_loads(records, row, tokens), reverse=True) for records in runs]
    return [fmean(rank) for rank in zip(*seeds, strict=True)]


def _loads(records: Sequence[Record], row: int, tokens: int) -> list[float]:
    until = [record for record in records if record.tokens <= tokens] or [records[0]]
    last, window = until[-1], max(1, records[-1].steps // 20)
    some = [record.loads[row] for record in until if last.step - record.step < window]
    return [fmean(expert) for expert in zip(*some, strict=True)]
