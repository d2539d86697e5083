"""Ratios from alternating runs: what slows the machine for a while slows both sides alike.

`clock` is wall time, or, on a machine with other work, the CPU time of this process (what others take is left out).
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is lmlab's speed over the other's, or what `what` says; `goal` what it should
    reach."""

    what: str
    lmlab: str
    other: str
    ratio: float
    goal: str


clock: Callable[[], float] = time.perf_counter


def seconds(run: Callable[[], object]) -> float:
    start = clock()
    run()
    return clock() - start


def alternating(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, after one warm-up; the runs take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: statistics.median(values) for name, values in times.items()}
