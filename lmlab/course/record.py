"""What the reader has done, in one small JSON file on the reader's own machine; it never leaves it.

The file is progress.json in the user's data folder, or wherever the environment variable LMLAB_PROGRESS says.
"""

import json
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from lmlab.course import catalogue

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("exercises", "predictions")


def place() -> Path:
    return Path(os.environ.get("LMLAB_PROGRESS") or platformdirs.user_data_path("lmlab") / "progress.json")


def read() -> dict[str, dict[str, dict[str, Any]]]:
    """What was noted so far. A file that cannot be read as such is put aside, under a name ending in .broken."""
    path = place()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            "exercises": {k: {"tries": int(e["tries"]), "right": e["right"]} for k, e in found["exercises"].items()},
            "predictions": {k: {"guess": e["guess"], "right": e["right"]} for k, e in found["predictions"].items()},
        }
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, AttributeError):
        path.replace(path.with_suffix(".broken"))
    return {kind: {} for kind in KINDS}


def _write(found: dict) -> None:
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(found, indent=1), encoding="utf-8")
    part.replace(path)  # at once: never half a file


def _note(kind: str, key: str, change) -> str:
    try:
        found = read()
        found[kind][key] = change(found[kind].get(key, {}))
        _write(found)
    except OSError as error:
        return f"(Your progress could not be kept: {error}. LMLAB_PROGRESS can name another file.)"
    return ""


def note_try(number: str, right: bool) -> str:
    """One more try at an exercise. Returns what to tell the reader if it could not be kept, else nothing."""

    def change(old: dict) -> dict:
        first = old.get("right") or (_now() if right else None)
        return {"tries": old.get("tries", 0) + (old.get("right") is None), "right": first}

    return _note("exercises", number, change)


def first_guess(number: str) -> str | None:
    """What was noted before, if anything and if it can be read."""
    with suppress(OSError):
        return read()["predictions"].get(number, {}).get("guess")
    return None


def note_guess(number: str, guess: str, right: bool) -> str:
    """A prediction; the first one stays."""
    return _note("predictions", number, lambda old: old or {"guess": guess, "right": right})


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="minutes")


def progress(lesson: str = "") -> "pd.DataFrame":
    """One row per exercise and prediction, of one lesson ("03") or of all: its title, whether it is right, and after
    how many tries. Kept in the file that `lmlab.course.record.place()` names; delete it to start anew."""
    import pandas as pd

    try:
        found = read()
    except OSError as error:
        raise ValueError(f"{place()} cannot be read ({error}); LMLAB_PROGRESS can name another file") from error
    rows = []
    for prediction in catalogue.predictions():
        noted = found["predictions"].get(prediction.number, {})
        state = "open" if not noted else "right" if noted["right"] else f"guessed {noted['guess']}"
        rows.append((prediction.number, "prediction", prediction.title, state, int(bool(noted))))
    for exercise in catalogue.exercises():
        noted = found["exercises"].get(exercise.number, {})
        state = "right" if noted.get("right") else "tried" if noted else "open"
        rows.append((exercise.number, "exercise", exercise.title, state, noted.get("tries", 0)))
    columns = ["number", "kind", "title", "state", "tries"]
    chosen = sorted(row for row in rows if row[0].startswith(lesson))
    return pd.DataFrame(chosen, columns=columns).set_index("number")
