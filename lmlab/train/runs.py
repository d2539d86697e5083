"""What training records say, recorded or just coming in: tables, curves of a readable number of points, floors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from lmlab.paths import data_path
from lmlab.text.tokenizer import Tokenizer
from lmlab.train.data import IGNORED, HeldOut, held_out
from lmlab.train.pretraining import Record, read_records
from lmlab.train.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

POINTS = 200  # of a curve: more than a picture can show


def floors(held: HeldOut) -> dict[str, float]:
    """The entropy floor in nats per token, by domain and over "all": what the held-out texts cost whoever knows the
    grammar by heart. A model's loss on them is this and its `distance`."""
    tokens, domains = (held.targets != IGNORED).sum(1), sorted({*held.domains})  # (N,)
    found = {}
    for domain in domains:
        of = [i for i, one in enumerate(held.domains) if one == domain]
        found[domain] = float(held.floors[of].sum() / tokens[of].sum())
    return found | {"all": float(held.floors.sum() / tokens.sum())}


@lru_cache(maxsize=8)
def corpus_floors(
    tokenizer: Tokenizer, mixture: str = "general", number: int = 400, length: int = 256
) -> dict[str, float]:
    """`floors` of the first `number` held-out texts of a mixture: those on which `pretrain` measures the distance."""
    return floors(held_out(mixture, tokenizer, number, length))


def phases(recipe: Recipe) -> dict[str, int]:
    """After how many tokens each part of the learning-rate schedule begins."""
    step, steps = recipe.batch_size * recipe.length, recipe.steps
    begins = {
        "warm-up": 0,
        "stable": round(recipe.warmup_ratio * steps),
        "decay": steps - round(recipe.decay_ratio * steps),
    }
    return {name: start * step for name, start in begins.items()}


def recent(records: Sequence[Record], field: str) -> float | None:
    """The mean over the last twentieth of the planned steps, as far as they are there: one step's batch is too small
    to judge by. None where the field was not measured."""
    if not records:
        return None
    last = records[-1]
    some = [record for record in records if last.step - record.step < max(1, last.steps // 20)]
    measured = [value for record in some if (value := getattr(record, field)) is not None]
    return sum(measured) / len(measured) if measured else None


def curve(records: Sequence[Record], field: str, points: int = POINTS) -> list[tuple[int, float]]:
    """(tokens, value) of at most about `points` points: where there are more steps, each is the mean of several
    neighbours, set at the last of them. Steps that did not measure the field are left out."""
    together = max(1, -(-(records[-1].steps if records else 0) // points))
    found = []
    for _, some in groupby(records, key=lambda record: (record.step - 1) // together):
        measured = [(record.tokens, value) for record in some if (value := getattr(record, field)) is not None]
        if measured:
            found.append((measured[-1][0], sum(value for _, value in measured) / len(measured)))
    return found


def distances(records: Sequence[Record], domain: str = "all") -> list[tuple[int, float]]:
    """(tokens, nats per token above the floor), wherever it was measured."""
    return [(r.tokens, r.distance[domain]) for r in records if r.distance and domain in r.distance]


def in_turn(runs: dict[str, Iterator[Record]]) -> Iterator[tuple[str, Record]]:
    """One record of each run in turn, with the run's name, until all have ended. Leaving early closes them all."""
    left = dict(runs)
    try:
        while left:
            for name, records in [*left.items()]:
                record = next(records, None)
                if record is None:
                    del left[name]
                else:
                    yield name, record
    finally:
        for records in runs.values():
            if hasattr(records, "close"):  # a recorded run has nothing to put back
                records.close()


def table(records: Iterable[Record]) -> "pd.DataFrame":
    """One row a record; its distances in columns distance_all, distance_story, ..., empty where not measured."""
    import pandas as pd

    rows = []
    for record in records:
        row = asdict(record)
        measured = row.pop("distance") or {}
        del row["loads"]  # a table of its own: train/loads.py
        rows.append(row | {f"distance_{domain}": value for domain, value in measured.items()})
    return pd.DataFrame(rows)


def experiments() -> list[str]:
    """The recorded experiments, those that this version brings: folders of data/runs."""
    try:
        return sorted(folder.name for folder in data_path("runs").iterdir() if any(folder.glob("*.jsonl")))
    except FileNotFoundError:
        return []


def recorded(experiment: str) -> dict[tuple[str, int], list[Record]]:
    """Every recorded run of an experiment, by arm and seed: data/runs/<experiment>/<arm>-<seed>.jsonl.

    FileNotFoundError if there is no such experiment; ValueError for a file that is not named like that.
    """
    folder, found = data_path("runs", experiment), {}
    for path in sorted(folder.glob("*.jsonl")):
        arm, _, seed = path.stem.rpartition("-")
        if not arm or not seed.isdecimal():
            raise ValueError(f"{path} should be called <arm>-<seed>.jsonl, as mini-qwen3-0.jsonl: it has no seed")
        found[arm, int(seed)] = read_records(path)
    if not found:
        raise FileNotFoundError(f"{folder} holds no recorded run: files <arm>-<seed>.jsonl are expected there")
    return found


def runs_table(experiment: str) -> "pd.DataFrame":
    """`table` of every recorded run of an experiment, with the columns experiment, arm and seed in front."""
    import pandas as pd

    tables = []
    for (arm, seed), records in recorded(experiment).items():
        found = table(records)
        for place, (column, value) in enumerate({"experiment": experiment, "arm": arm, "seed": seed}.items()):
            found.insert(place, column, value)
        tables.append(found)
    return pd.concat(tables, ignore_index=True)


def ends(runs: "pd.DataFrame") -> "pd.DataFrame":
    """The last measured row of each run."""
    measured = runs.dropna(subset=["distance_all"])
    return measured.sort_values("tokens").groupby(["arm", "seed"], sort=False).tail(1)
