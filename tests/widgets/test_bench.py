"""The bench's view trains what its controls name and keeps it; what a change costs is said before any training."""

import re

import pytest

from lmlab.train.bench import Bench
from lmlab.widgets import bench as bench_module
from lmlab.widgets.bench import PROMPT, BenchView
from tests.widgets.test_training import records


@pytest.fixture
def small(monkeypatch):
    """A bench whose models are not trained: its records are given."""
    trained = []

    def run(self):
        for name in self.names:
            trained.append((self.before.name, name, self.recipe))
            yield from ((name, one) for one in records(4, every=2))

    monkeypatch.setattr(Bench, "__iter__", run)
    monkeypatch.setattr(
        Bench, "write", lambda self, prompt, tokens=40: {name: f"{prompt} {name}" for name in self.names}
    )
    bench_module.bench_of.cache_clear()
    yield trained
    bench_module.bench_of.cache_clear()


def test_the_bench_trains_what_its_controls_name_and_keeps_it(small):
    view = BenchView(model="mini-gpt-oss", change="no sinks", tokens=16_384, seed=2)
    assert view.data["button"] == {"label": "Train both", "on": True} and view.data["chart"]["lines"] == []
    view.pressed += 1
    view.wait()
    assert [name for _, name, _ in small] == ["mini-gpt-oss", "no sinks"]
    assert {(one.tokens, one.seed) for _, _, one in small} == {(16_384, 2)}
    assert view.last.models == {} and [*view.runs] == ["mini-gpt-oss", "no sinks"]
    assert view.data["tables"][1]["rows"] == [[name, f"{PROMPT} {name}"] for name in view.runs]
    shown = view.data
    view.state = view.state | {"seed": 3}
    assert view.data["chart"]["lines"] == [] and len(view.data["tables"]) == 0
    view.state = view.state | {"seed": 2}
    assert view.data["chart"] == shown["chart"] and view.data["tables"] == shown["tables"], "it was kept"
    assert len(small) == 2


def test_the_bench_says_difference_and_sizes_before_training():
    view = BenchView(model="mini-qwen3", change="one key/value head")
    bench = Bench("mini-qwen3", "one key/value head")
    assert view.data["change"][0]["rows"] == [["attention.num_key_value_heads", "2", "1"]]
    (sizes,) = view.data["sizes"]
    assert sizes["rows"] == [*bench.sizes.index] and sizes["runs"][0]["values"] == [*bench.sizes.times]
    for row, value in bench.sizes.times.items():
        assert float(re.search(rf"{row} x(\d+(?:\.\d+)?)", view.summary).group(1)) == pytest.approx(value, rel=0.006)
