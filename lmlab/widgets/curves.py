"""What the training views draw and say of records: lines, marks, rows of a table and words, all as plain values."""

import math
from collections.abc import Sequence

from lmlab.figures.training import Look, looks
from lmlab.train.pretraining import Record
from lmlab.train.runs import curve, distances, recent

DISTANCE = "distance to the floor"
FIELDS = {  # what can be drawn beside the distance: field of a record, unit, how a value is said
    "loss": ("loss", "nats per token", "{:.3f}"),
    "learning rate": ("learning_rate", "learning rate", "{:.3g}"),
    "gradient norm": ("gradient_norm", "norm before clipping", "{:.3g}"),
    "expert load": ("load", "busiest expert, times the mean", "{:.2f}"),
    "loss of multi-token prediction": ("mtp", "nats per token", "{:.3f}"),
    "tokens per second": ("tokens_per_second", "tokens per second", "{:,.0f}"),
}
MOMENTS = [5 * i for i in range(1, 21)]  # per cent of a run

Runs = dict[str, list[Record]]


def check(state: dict, runs: Runs) -> None:
    """ValueError where nothing that is asked for was measured."""
    if not any(runs.values()):
        return
    if not any(points(state, records) for records in runs.values()):
        what = f"{state['show']}, {state['texts']}" if state["show"] == DISTANCE else state["show"]
        raise ValueError(f"{what}: no run has measured it so far; choose another under Show")


def points(state: dict, records: Sequence[Record]) -> list[tuple[int, float]]:
    if state["show"] == DISTANCE:
        return distances(records, state["texts"])
    return curve(records, FIELDS[state["show"]][0])


def upto(records: Sequence[Record], moment: float) -> list[Record]:
    """The records up to a moment, in per cent of the planned steps; the first one at least."""
    return [
        record for record in records if record.step == records[0].step or 100 * record.step <= moment * record.steps
    ]


def tenths(records: Sequence[Record]) -> float:
    """The last full tenth of a run, in per cent: while it goes on, words change no more often."""
    return 10 * math.floor(10 * records[-1].step / records[-1].steps) if records else 0


def chart(state: dict, runs: Runs, floors: dict[str, float], stages: dict[str, int]) -> dict:
    """Lines of (tokens, value), marks on them where held-out texts were measured, and a level to compare with."""
    show, texts = state["show"], state["texts"]
    floor = floors.get(texts)
    level = {"loss": (floor, f"floor {floor:.3f}" if floor else ""), DISTANCE: (0, "floor"), "expert load": (1, "even")}
    value, name = level.get(show, (None, ""))
    logarithmic = state["axis"] == "logarithmic"

    def drawn(found: list[tuple[int, float]]) -> list[tuple[int, float]]:
        return [point for point in found if point[1] > 0] if logarithmic else found

    found = looks(runs)
    lines = []
    for run, records in runs.items():
        measured = distances(records, texts)
        if show == "loss":
            marks = [(tokens, floor + above) for tokens, above in measured] if floor else []
            line = points(state, records) if texts == "all" else marks
        else:
            line, marks = points(state, records), measured if show == DISTANCE else []
        lines.append({"name": run, "points": drawn(line), "marks": drawn(marks)} | look(found[run]))
    longest = max((r[-1].tokens / r[-1].step * r[-1].steps for r in runs.values() if r), default=1)
    return {
        "lines": lines,
        "level": None if value is None or (logarithmic and value <= 0) else [value, name],
        "stages": [[tokens, stage] for stage, tokens in stages.items()],
        "longest": longest,
        "at": None if state["moment"] == 100 else longest * state["moment"] / 100,
        "logarithmic": logarithmic,
        "unit": "nats per token above the floor" if show == DISTANCE else FIELDS[show][1],
    }


def look(found: Look) -> dict:
    return {"colour": found.colour, "marker": found.marker, "dash": [*found.dash]}


def last_distance(records: Sequence[Record]) -> dict[str, float]:
    return next((record.distance for record in reversed(records) if record.distance), {})


def dots(at: Runs) -> dict:
    """How far each run lies above the floor, by domain, where it was last measured."""
    above = {name: last_distance(records) for name, records in at.items()}
    rows = list(dict.fromkeys(domain for found in above.values() for domain in found))
    rows = [domain for domain in rows if domain != "all"] + [domain for domain in rows if domain == "all"]
    found = looks(at)
    runs = [{"name": n, "values": [d.get(row) for row in rows]} | look(found[n]) for n, d in above.items() if d]
    # numbers beside the marks, in the order that the title gives
    said = [", ".join(f"{run['values'][i]:.3f}" for run in runs) if len(runs) < 4 else "" for i in range(len(rows))]
    names = ": " + ", ".join(run["name"] for run in runs) if 1 < len(runs) < 4 else ""
    return {"title": f"Held-out texts above their floor, nats per token{names}", "rows": rows, "runs": runs} | {
        "said": said,
        "at": 0,
    }


def table(at: Runs) -> dict:
    """One row a run: what was measured of any of them."""
    above = {name: last_distance(records) for name, records in at.items()}
    fields = {
        what: spec for what, spec in FIELDS.items() if any(recent(run, spec[0]) is not None for run in at.values())
    }
    domains = list(dict.fromkeys(domain for found in above.values() for domain in reversed(found)))
    rows = []
    for name, records in at.items():
        measured = {what: recent(records, field) for what, (field, _, _) in fields.items()}
        cells = {what: "-" if value is None else fields[what][2].format(value) for what, value in measured.items()}
        distance = [f"{above[name][domain]:.3f}" if domain in above[name] else "-" for domain in domains]
        rest = [cells[what] for what in fields if what != "loss"]
        rows.append([name, f"{records[-1].tokens:,}" if records else "0", cells["loss"], *distance, *rest])
    columns = ["Run", "Tokens", "Loss", *(f"Above floor: {domain}" for domain in domains)]
    return {
        "title": "In numbers",
        "columns": [*columns, *(w.capitalize() for w in fields if w != "loss")],
        "rows": rows,
    }


def words(state: dict, at: Runs, floors: dict[str, float]) -> str:
    """What the picture shows, in words with its numbers."""
    show, texts = state["show"], state["texts"]
    said = []
    for name, records in at.items():
        if not records:
            continue
        sentence = f"{name} after {records[-1].tokens:,} tokens: loss {recent(records, 'loss'):.3f} nats per token"
        above = last_distance(records)
        if texts in above:
            of = "held-out texts" if texts == "all" else f"texts of {texts}"
            sentence += f", {of} {above[texts]:.3f} above their floor"
            rest = ", ".join(f"{domain} {value:.2f}" for domain, value in above.items() if domain not in ("all", texts))
            sentence += f" ({rest})" if rest else ""
        if show not in ("loss", DISTANCE):
            field, _, form = FIELDS[show]
            value = recent(records, field)
            sentence += f", {show} {form.format(value)}" if value is not None else f", {show} not measured"
        said.append(sentence)
    if texts in floors:
        said.append(f"The floor {'' if texts == 'all' else f'of {texts} '}is {floors[texts]:.3f}")
    return ". ".join([*said, ""]).strip() if said else "No step has been made so far."
