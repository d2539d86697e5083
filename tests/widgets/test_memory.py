"""The cache view says what measure says, and what-if models are real configurations whose caches could be allocated."""

import random
import re
from itertools import pairwise

import pytest
import torch

import lmlab
from lmlab import facts
from lmlab.configuration import as_gqa, as_mla
from lmlab.measure import memory
from lmlab.widgets.memory import MODELS, CacheView, gpus


def changed(state):
    config = lmlab.config(state["what_if"])
    if state["attention"] == "MLA":
        return as_mla(config, state["rank"], state["rope_width"])
    return as_gqa(config, state["kv_heads"], None if state["window"] == "none" else state["window"])


def expected(state):
    """[(name, config)] of the lines that the state asks for."""
    found = [(name, lmlab.config(name)) for name in MODELS if name in state["models"]]
    other = changed(state)
    return found if other == lmlab.config(state["what_if"]) else [*found, (f"{state['what_if']} (changed)", other)]


def number(text):
    return float(text.split()[0].replace(",", ""))


def check(view):
    state, length, batch = view.state, view.state["length"], view.state["batch"]
    lines, rows, wanted = view.data["lines"], view.data["table"]["rows"], expected(state)
    assert [line["name"] for line in lines] == [row[0] for row in rows] == [name for name, _ in wanted]
    for line, row, (name, config) in zip(lines, rows, wanted, strict=True):
        held = memory.cache_bytes(config, length, batch)
        by_layer = memory.cache_by_layer(config, length, batch).groupby("kind")["bytes"].sum()
        assert {kind: round(value * 1e9) for kind, value in line["kinds"].items()} == by_layer.to_dict()
        whole = state["show"] == "the whole cache"
        assert view.data["logarithmic"] == whole and view.data["length"] == length
        assert (line["weights"], line["cache"]) == pytest.approx(
            (memory.weight_bytes(config, memory.released_format(config)) / 1e9, held / 1e9)
        )
        reads = config.max_position_embeddings
        each = memory.cache_bytes(config, reads, batch)
        assert line["released"] == [reads, pytest.approx(each / 1e9 if whole else each / 1e3 / reads / batch)]
        assert view.data["gpu"] == pytest.approx(gpus()[state["gpu"]] / 1e9)
        for n, value in zip(view.data["lengths"], line["values"], strict=True):
            each = memory.cache_bytes(config, n, batch)
            assert value == pytest.approx(each / 1e9 if whole else each / 1e3 / n / batch)
        weights = memory.weight_bytes(config, memory.released_format(config))
        left = gpus()[state["gpu"]] - weights
        assert number(row[1]) == pytest.approx(weights / 1e9, abs=0.051)
        assert number(row[2]) == pytest.approx(held / 1e9, rel=0.006)
        assert number(row[3]) == pytest.approx(held / 1e3 / length / batch, abs=0.051)
        assert f"{name} {row[2]}" in view.summary
        if left <= 0:
            assert row[4] == "does not fit" and f"no room for {name}, whose" in view.summary
            continue
        assert int(number(row[5])) == left // (held // batch)
        fits = left // (held // batch)
        assert f"{fits:,} such text{'' if fits == 1 else 's'} of {name}" in view.summary
        assert line["changed"] == name.endswith(" (changed)")
        longest = int(number(row[6]))
        assert memory.cache_bytes(config, longest, batch) <= left < memory.cache_bytes(config, longest + 1, batch)


def test_it_opens_on_the_flagships():
    view = CacheView()
    check(view)
    words = "Cache of 1 text of 131,072 tokens, in GB: gpt-oss-120b 4.84, qwen3-235b-a22b 25.2, deepseek-v3 9.21."
    assert view.summary.startswith(words)


def test_after_every_seeded_move_the_view_says_what_measure_says():
    rng, view, summaries, refused = random.Random(0), CacheView(), [], 0
    for _ in range(200):
        spec = rng.choice(view.controls)
        many = spec["kind"] == "many"
        value = rng.sample(spec["values"], rng.randint(0, 5)) if many else rng.choice(spec["values"])
        view.state = view.state | {spec["name"]: value}
        if view.problem:
            refused += 1
            assert "no model is chosen" in view.problem or "must be a multiple of" in view.problem
            continue
        check(view)
        summaries.append(view.summary)
    assert sum(a != b for a, b in pairwise(summaries)) > 60 and 0 < refused < 40


def test_every_control_can_say_every_state():
    view = CacheView()
    for name in MODELS:
        view.state = view.state | {"what_if": name}
        for spec in view.controls:
            values = view.state[spec["name"]]
            assert set(values if spec["kind"] == "many" else [values]) <= set(spec["values"]), spec["name"]
        assert not any(line["changed"] for line in view.data["lines"]), "as released until a control is moved"
    assert sum(not spec["more"] for spec in view.controls) == 4


def test_keywords_win_over_what_a_choice_stands_for():
    view = CacheView(what_if="qwen3-8b", attention="MLA", rank=256, models=["deepseek-v3", "gpt-oss-20b"])
    assert (view.state["attention"], view.state["rank"]) == ("MLA", 256)
    assert view.state["models"] == ["gpt-oss-20b", "deepseek-v3"], "in the order of the list"
    assert [line["name"] for line in view.data["lines"]] == ["gpt-oss-20b", "deepseek-v3", "qwen3-8b (changed)"]


def test_a_gpu_holds_what_its_driver_reports():
    assert gpus()["8 x H100, 684 GB"] == 8 * 81_559 * 2**20
    for label, held in gpus().items():
        assert int(re.search(r", ([\d,]+) GB", label).group(1).replace(",", "")) == round(held / 1e9)
    for gpu in ("nvidia-rtx-4090", "nvidia-h100-sxm", "nvidia-h200-sxm"):
        named, reported = facts.value(gpu, "memory") * 1e9, facts.value(gpu, "memory_reported") * 2**20
        assert named < reported < 1.08 * named, "a datasheet's GB are nearer to GiB"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"gpu": "A100"}, "gpu='A100' is not one of 1 x RTX 4090"),
        ({"models": ["gpt2"]}, "models='gpt2' is not one of gpt-oss-20b"),
        ({"batch": 0}, "batch=0 is not one of 1, 2"),
        ({"attention": "mha"}, "attention='mha' is not one of GQA, MLA"),
    ],
)
def test_values_that_no_control_has_are_refused(state, says):
    with pytest.raises(ValueError, match=says):
        CacheView(**state)


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-qwen3", "mini-deepseek-v3"])
def test_what_if_models_run_and_their_caches_take_these_bytes(name):
    config = lmlab.config(name)
    for other in (as_gqa(config, 4, 16), as_gqa(config, 1), as_mla(config, 48, 8)):
        model = lmlab.build(other)
        cache = model.make_cache(2, 40)
        assert cache.nbytes == memory.cache_bytes(other, 40, 2, torch.float32)
        with torch.inference_mode():
            assert model(torch.arange(40)[None]).shape == (1, 40, config.vocab_size)


def test_what_if_returns_the_released_design():
    assert as_gqa(lmlab.config("gpt-oss-120b"), 8, 128) == lmlab.config("gpt-oss-120b")
    assert as_gqa(lmlab.config("qwen3-32b"), 8) == lmlab.config("qwen3-32b")
    assert as_mla(lmlab.config("deepseek-v3"), 512, 64) == lmlab.config("deepseek-v3")
