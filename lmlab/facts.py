"""The facts that lessons quote, each with its source: data/facts.csv about models, data/devices.csv about what they run
on.

Columns of both: model, field, value, unit, source, locator, status. `status` says how good the source is: vendor_code,
vendor_report or vendor_card (the vendor's own code, paper or card), third_party (a public copy of a vendor's file), or
computed (counted or calculated from one of these; tests compare it with what lmlab computes).
"""

import difflib
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from lmlab.paths import data_path

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("vendor_code", "vendor_report", "vendor_card", "third_party", "computed")


@cache
def _all() -> "pd.DataFrame":
    import pandas as pd

    files = [data_path(name) for name in ("facts.csv", "devices.csv")]
    return pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in files], ignore_index=True)


def table(model: str | None = None, field: str | None = None) -> "pd.DataFrame":
    """The facts about one model or device, or of one field over all, or all; values as text."""
    facts = _all()
    for column, wanted in (("model", model), ("field", field)):
        if wanted is not None:
            facts = facts[facts[column] == wanted]
    return facts.reset_index(drop=True)


def value(model: str, field: str) -> Any:
    """One fact as a number, bool, list, None or text. ValueError names the nearest when there is no such fact."""
    return parse(_one(model, field)["value"])


def citation(model: str, field: str) -> str:
    """Where one fact comes from: "DeepSeek-V3 Technical Report, arXiv:2412.19437, section 4.2"."""
    fact = _one(model, field)
    return f"{fact['source']}, {fact['locator']}"


def parse(text: str) -> Any:
    """Text as it stands in the file -> what it means: JSON where it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _one(model: str, field: str) -> "pd.Series":
    facts = table(model)
    if facts.empty:
        raise ValueError(f"no facts about {model!r}{_near(model, _all()['model'].unique())}")
    found = facts[facts["field"] == field]
    if found.empty:
        raise ValueError(f"no fact {field!r} about {model}{_near(field, facts['field'])}")
    return found.iloc[0]


def _near(name: str, names) -> str:
    near = difflib.get_close_matches(name, list(names), n=3)
    return f"; near: {', '.join(near)}" if near else ""
