"""Where lmlab's own data lies: checkpoints, corpus, facts.csv, recorded runs; and where a piece of code is written. No
other code builds such a path."""

import inspect
from collections.abc import Callable
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "_data", _PACKAGE.parent / "data")  # in an installed wheel; in a checkout


def data_path(*parts: str) -> Path:
    """The file or folder `parts` below data/; without parts, data/ itself.

    FileNotFoundError names what is missing, and the nearest folder above it that is there.
    """
    root = next((place for place in _PLACES if place.is_dir()), None)
    if root is None:
        raise FileNotFoundError(f"lmlab's data folder is at none of {', '.join(map(str, _PLACES))}: reinstall lmlab")
    path = root.joinpath(*parts)
    if path.exists():
        return path
    above = next(folder for folder in path.parents if folder.exists())
    held = ", ".join(sorted(entry.name for entry in above.iterdir())) or "nothing" if above.is_dir() else "a file"
    raise FileNotFoundError(f"lmlab's data holds no {'/'.join(parts)}; {above} holds {held}")


def where(thing: Callable) -> str:
    """File and lines: lmlab/parts/mla.py, lines 60 to 71."""
    thing = inspect.unwrap(thing)  # a decorator's file is not where it is written
    path = Path(inspect.getsourcefile(thing)).resolve()
    lines, first = inspect.getsourcelines(thing)
    name = path.relative_to(_PACKAGE.parent).as_posix() if path.is_relative_to(_PACKAGE) else path.name
    return f"{name}, lines {first} to {first + len(lines) - 1}"
