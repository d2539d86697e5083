"""The cost view says what measure says, after any moves, of costs that the test prices itself."""

import random

import pytest

import lmlab
from lmlab.measure import flops, memory, sizes
from lmlab.measure.cost import Cost, mixture, touched
from lmlab.measure.devices import NAMES, device
from lmlab.widgets.cost import AS_RELEASED, BATCHES, CONTEXTS, MODELS, CostView, offers
from tests.browser.moves import choose


def number(text):
    return float(text.split()[0].replace(",", ""))


def near(value):
    """Of a number that was written with three digits or as a whole one."""
    return pytest.approx(value, rel=0.006, abs=0.051)


def priced(state, name):
    count, _, label = state["device"].partition(" x ")
    label = label.rpartition(", ")[0]
    on = device(next(key for key, said in NAMES.items() if said == label), int(count))
    weights = None if state["weights"] == AS_RELEASED else state["weights"]
    options = {"batch": state["batch"], "context": state["context"], "cache_format": state["cache"]}
    return Cost(lmlab.config(name), on, weight_format=weights, **options)


def check(view):
    state, data = view.state, view.data
    first = priced(state, "qwen3-8b").device
    assert data["memory"] == pytest.approx(first.memory / 1e9) and data["bandwidth"] == first.bandwidth / 1e12
    peaks = [peak / 1e12 for peak in (first.two_byte, first.fp8, first.fp4) if peak]
    assert [roof["peak"] for roof in data["roofs"]] == peaks
    assert [roof["ridge"] for roof in data["roofs"]] == pytest.approx([one / data["bandwidth"] for one in peaks])
    assert len(data["rows"]) == len(state["models"])
    for i, (name, row) in enumerate(zip(state["models"], data["rows"], strict=True)):
        check_row(view, i, row, priced(state, name), name)
    check_curves(data, state)


def check_row(view, i, row, cost, name):
    fits, writing, reading = (table["rows"][i] for table in view.data["tables"])
    assert row["label"] == fits[0] == writing[0] == reading[0] == f"{i + 1} {name}"
    config = cost.config
    assert (row["weights"], row["cache"]) == pytest.approx((cost.weights / 1e9, cost.cache / 1e9))
    assert row["cache"] * 1e9 == pytest.approx(
        memory.cache_bytes(config, cost.context, cost.batch, memory.CACHE_FORMATS[view.state["cache"]])
    )
    for point, done in ((row["write"], cost.decode()), (row["read"], cost.prefill)):
        assert point == pytest.approx([done.intensity, done.flops_per_second / 1e12])
        assert point[1] <= view.data["roofs"][-1]["peak"] * 1.000001
    assert row["trail"][BATCHES.index(view.state["batch"])] == pytest.approx(row["write"])
    last = cost.decode(1024)
    assert row["trail"][-1] == pytest.approx([last.intensity, last.flops_per_second / 1e12])
    assert [number(cell) for cell in fits[1:4]] == [
        near(sizes.total(config) / 1e9),
        near(sizes.active(config) / 1e9),
        near(cost.weights / 1e9),
    ]
    assert fits[3].endswith(f"({cost.stored})") and number(fits[4]) == near(cost.cache / 1e9)
    assert fits[6] == f"{cost.longest:,}"
    per_token = [flops.total(config, 1, cost.context), flops.total(config, cost.context) / cost.context]
    for cells, done, each in zip((writing, reading), (cost.decode(), cost.prefill), per_token, strict=True):
        assert number(cells[1]) == near(each / 1e9) and number(cells[2]) == near(done.intensity)
        assert cells[3:] == ["-", "-"] or (number(cells[3]) == near(done.tokens_per_second) and cells[4] == done.bound)
    assert row["fits"] == cost.fits == (fits[5] != "does not fit") == (writing[3] != "-")
    if not cost.fits:
        assert f"{name} does not fit: " in view.summary and row["says"] == "does not fit"
        return
    assert number(fits[5]) == near(cost.free / 1e9) and row["speed"] == cost.decode().tokens_per_second
    said = view.summary.partition(f" {name}: ")[2].partition(" fit.")[0]
    assert f"writes at most {writing[3]} tokens/s (bound by {writing[4]})" in said
    assert f"reads at most {reading[3]} (bound by {reading[4]})" in said
    assert f"up to {fits[6]} tokens" in said and f"{fits[4]} GB of cache" in said


def check_curves(data, state):
    experts, arithmetic = data["lines"]
    sparse = [name for name in state["models"] if mixture(lmlab.config(name))]
    assert [line["label"].split()[1] for line in experts["lines"]] == sparse
    assert (experts["at"], arithmetic["at"]) == (state["batch"], state["context"])
    for name, line, row in zip(sparse, experts["lines"], data["experts"]["rows"], strict=True):
        moe = mixture(lmlab.config(name))
        shares = [100 * touched(moe.num_experts, moe.num_experts_per_tok, n) / moe.num_experts for n in BATCHES]
        assert line["values"] == pytest.approx(shares)
        held = priced(state, name).experts(state["batch"])
        assert [int(row[1]), int(row[2])] == [moe.num_experts, moe.num_experts_per_tok]
        assert [number(cell) for cell in row[4:]] == [near(part / 1e9) for part in held.values()]
    for name, line in zip(state["models"], arithmetic["lines"], strict=True):
        ends = [flops.total(lmlab.config(name), 1, context) / 1e9 for context in (CONTEXTS[0], CONTEXTS[-1])]
        assert [line["values"][0], line["values"][-1]] == pytest.approx(ends)


@pytest.mark.parametrize("seed", range(3))
def test_after_any_moves_everything_is_what_measure_says(seed):
    rng, view, said = random.Random(seed), CostView(), set()
    check(view)
    for _ in range(12):
        view.state = choose(view, rng).state
        if not view.state["models"]:
            assert "no model is chosen" in view.problem
            continue
        check(view)
        said.add(view.summary)
    assert len(said) > 4


def test_it_opens_on_writing_bound_by_bandwidth_and_reading_by_compute():
    view = CostView()
    _, writing, reading = view.data["tables"]
    assert {row[4] for row in writing["rows"]} == {"bandwidth"} and {row[4] for row in reading["rows"]} == {"compute"}
    assert sum(not spec["more"] for spec in view.controls) == 4
    assert view.summary.startswith(
        "8 x H200: 1,206 GB, 38.4 TB/s, 7,912 TFLOP/s in BF16, 15,832 TFLOP/s in FP8. 8 texts"
    )


def test_what_does_not_fit_has_no_speed_and_the_view_stays_usable():
    view = CostView(models=["deepseek-v3", "qwen3-8b"], device="1 x H100, 86 GB")
    check(view)
    assert [row["fits"] for row in view.data["rows"]] == [True, False], "in the order of the list"
    view.state = view.state | {"models": []}
    assert view.problem == "no model is chosen: choose at least one under Models"
    view.state = view.state | {"models": ["qwen3-8b"]}
    check(view)
    assert not view.problem and view.data["experts"]["rows"] == []
    assert view.data["lines"][0]["title"] == "No chosen model has experts"


def test_every_device_can_be_chosen():
    for label, one in offers().items():
        view = CostView(device=label, models=["gpt-oss-20b"], batch=1, context=256)
        check(view)
        assert view.summary.startswith(f"{one.label}: ")
    assert len(offers()) == len(NAMES) + 6


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"device": "1 x abacus"}, "device='1 x abacus' is not one of 1 x T4"),
        ({"models": ["gpt2"]}, "models='gpt2' is not one of gpt-oss-20b"),
        ({"weights": "int4"}, "weights='int4' is not one of as released, bf16"),
        ({"batch": 3}, "batch=3 is not one of 1, 2, 4"),
    ],
)
def test_values_that_no_control_has_are_refused(state, says):
    with pytest.raises(ValueError, match=says):
        CostView(**state)


def test_models_are_the_full_scale_ones():
    assert "deepseek-v3" in MODELS and not any(name.startswith("mini-") for name in MODELS)
