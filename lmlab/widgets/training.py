"""The training view: losses against the floor while a model learns, or of recorded runs; training can be stopped."""

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import traitlets

from lmlab.train.bench import default_tokenizer
from lmlab.train.pretraining import Record
from lmlab.train.runs import corpus_floors, in_turn, recent, recorded
from lmlab.widgets.background import Background, answer_beside
from lmlab.widgets.curves import DISTANCE, FIELDS, MOMENTS, Runs, chart, check, dots, table, tenths, upto, words
from lmlab.widgets.kit import View, control, joined

DRAW_EVERY = 0.3  # seconds, while records come in


class TrainingView(View):
    """`records`: what `pretrain` yields, or a list of recorded ones; or name -> such, for several runs in one picture;
    or (name, record) pairs. What is not a list or tuple is trained from here on, in a thread: `wait()` returns when it
    has ended, `stop()` and the button end it after the step at hand, and so does an interrupt of the kernel. Without
    records: the recorded runs in which the miniatures were trained.

    floors: nats per token by domain and over "all" (lmlab.train.runs.floors); stages: name -> tokens at which it
    begins. runs: name -> the records so far. Keyword arguments set controls: show, texts, axis, moment.
    """

    _esm = joined("training.js")
    pressed = traitlets.Int(0).tag(sync=True, echo_update=False)

    def __init__(
        self,
        records: Iterable | Mapping[str, Iterable[Record]] | None = None,
        floors: Mapping[str, float] | None = None,
        *,
        stages: Mapping[str, int] | None = None,
        **state,
    ):
        if records is None:
            records = {f"{arm}, seed {seed}": run for (arm, seed), run in recorded("miniatures").items()}
            floors = corpus_floors(default_tokenizer())
        self.floors, self.stages = dict(floors or {}), dict(stages or {})
        self.runs, coming = _given(records)
        self.prepare()
        super().__init__(**state)
        answer_beside(self.comm)
        self.observe(lambda _: self.press(), "pressed")
        if coming is not None:
            self.begin(coming)

    def prepare(self) -> None:
        """What must be there before the first state: the controls, and the lock between kernel and training."""
        self.lock, self.work, self._drawn, self._begun = threading.RLock(), None, 0.0, 0.0
        self.set_trait("controls", self.specify())
        self.set_trait("state", {"show": "loss", "texts": "all", "axis": "linear", "moment": 100})

    def specify(self, more: bool = False) -> list[dict]:
        """The controls; `more`: all but the first behind "More"."""
        measured = [r.distance for records in self.runs.values() for r in records if r.distance]
        domains = list(dict.fromkeys(domain for found in (self.floors, *measured[:1]) for domain in found))
        texts = ["all", *(domain for domain in domains if domain != "all")]
        labels = ["all held-out texts", *texts[1:]]
        return [
            control("show", "Show", ["loss", DISTANCE, *[*FIELDS][1:]], kind="choice"),
            control(
                "texts", "Of the texts", texts, labels, kind="choice", when=("show", ["loss", DISTANCE]), more=more
            ),
            control("axis", "Upward axis", ["linear", "logarithmic"], kind="choice", more=more),
            control("moment", "Look at", MOMENTS, [f"{m}% of the run" for m in MOMENTS], more=more),
        ]

    # training

    @property
    def running(self) -> bool:
        return self.work is not None and self.work.running

    def begin(self, coming: Iterable[tuple[str, Record]]) -> None:
        """Train: read (name, record) pairs in a thread, in place of the runs that were here."""
        with self.lock:  # the first record waits until all is in place
            self.runs, self._begun = {}, time.monotonic()
            self.work = Background(coming, self._take, self._refresh)
            self._refresh()

    def stop(self) -> None:
        """End the training after the step at hand; the model keeps what it has learned."""
        if self.running:
            self.work.stop()
            self._refresh()

    def wait(self) -> "TrainingView":
        """Until training has ended; what it raised is raised here. Returns the view."""
        if self.work is not None:
            self.work.wait()
        return self

    def press(self) -> None:
        """The button."""
        self.stop()

    def _take(self, pair: tuple[str, Record]) -> None:
        name, record = pair
        with self.lock:
            self.runs.setdefault(name, []).append(record)
            if record.distance or time.monotonic() - self._drawn > DRAW_EVERY:
                self._refresh()

    def _refresh(self) -> None:
        with self.lock, self.hold_sync():
            super()._refresh()
            error = self.work.error if self.work else None
            if error is not None and not self.problem:
                self.problem = f"Training has ended with {type(error).__name__}: {error}"
            self._drawn = time.monotonic()

    def set_state(self, sync_data) -> None:
        with self.lock:  # not while the training draws
            super().set_state(sync_data)

    # what is drawn and said

    def shown(self, state: dict) -> Runs:
        """The runs that this state is about."""
        return self.runs

    def compute(self, state: dict) -> tuple[dict, str]:
        runs = {name: [*records] for name, records in self.shown(state).items()}
        if not self.running:
            check(state, runs)
        at = {name: upto(records, state["moment"]) for name, records in runs.items()}
        data = {
            "chart": chart(state, runs, self.floors, self.stages),
            "dots": [found] if (found := dots(at))["runs"] else [],
            "tables": [table(at)] if runs else [],
            "change": [],
            "sizes": [],
            "progress": self.progress(),
            "button": self.button(),
        }
        told = {name: upto(records, tenths(records)) if self.running else at[name] for name, records in runs.items()}
        return data, self.opening() + words(state, told, self.floors)

    def button(self) -> dict | None:
        """Its label, and whether it does anything."""
        if self.work is None:
            return None
        if self.running:
            return {"label": "Stopping ..." if self.work.stopping else "Stop training", "on": not self.work.stopping}
        return {"label": "Training has ended", "on": False}

    def opening(self) -> str:
        if self.running:
            return "Training. "
        return "Training was stopped by hand. " if self.work is not None and self.work.stopped else ""

    def progress(self) -> dict | None:
        """The share of the steps that is done, and in words with the time that is left."""
        if self.work is None:
            return None
        last = [records[-1] for records in self.runs.values() if records]
        if not last:
            return {"share": 0, "text": "making ready"}
        share = sum(record.step for record in last) / sum(record.steps for record in last)
        text = " and ".join(dict.fromkeys(f"step {record.step:,} of {record.steps:,}" for record in last))
        if self.running:
            left = (time.monotonic() - self._begun) * (1 / share - 1)
            speed = recent(next(iter(self.runs.values())), "tokens_per_second")
            text += f", {speed:,.0f} tokens a second, about {math.ceil(left)} s left"
        return {"share": share, "text": text}


def _given(records: Iterable | Mapping) -> tuple[Runs, Iterator[tuple[str, Record]] | None]:
    """(runs that are here, pairs that are to come)"""
    if isinstance(records, Mapping):
        if all(isinstance(run, Sequence) for run in records.values()):
            return {name: [*run] for name, run in records.items()}, None
        return {}, in_turn({name: iter(run) for name, run in records.items()})
    if isinstance(records, Sequence):
        return {"the model": [*records]} if records else {}, None
    return {}, (item if isinstance(item, tuple) else ("the model", item) for item in records)
