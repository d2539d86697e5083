"""The RoPE view says what measure says, of settings that this test builds; its starting points are the models' own."""

import random
from itertools import pairwise

import pytest

import lmlab
from lmlab.measure.rope import hands
from lmlab.parts.rope import ABF, NTK, PositionInterpolation, RoPEConfig, YaRN
from lmlab.widgets.rope import STARTS, RoPEView


def settings(state) -> tuple[RoPEConfig, RoPEConfig]:
    """(before, now)"""
    theta, factor = float(state["theta"]), float(state["factor"])
    scalings = {
        "none": lambda: None,
        "position interpolation": lambda: PositionInterpolation(factor=factor),
        "NTK": lambda: NTK(factor=factor),
        "ABF": lambda: ABF(rope_theta=float(state["abf_theta"])),
        "YaRN": lambda: YaRN(
            factor=factor,
            original_max_position_embeddings=state["trained"],
            beta_fast=state["beta_fast"],
            beta_slow=state["beta_slow"],
            truncate=state["truncate"],
        ),
    }
    scaling = None if factor == 1 and state["method"] != "ABF" else scalings[state["method"]]()
    return RoPEConfig(rope_theta=theta), RoPEConfig(rope_theta=theta, scaling=scaling)


def check(view):
    state = view.state
    before, now = settings(state)
    table = hands(now, state["dim"], state["length"], trained=before, trained_length=state["trained"])
    plain = hands(before, state["dim"], state["trained"])
    for column in table.columns:
        assert view.data[column] == pytest.approx(table[column].tolist(), rel=1e-12), column
    assert view.data["trained_wavelength"] == pytest.approx(plain.wavelength.tolist(), rel=1e-12)
    assert (view.data["length"], view.data["trained"]) == (state["length"], state["trained"])
    slowest, kept = table.slowed.max(), int((table.slowed < 1.001).sum())
    speeds = "all as fast as before"
    if slowest > 1.001:
        speeds = f"{kept} of them as fast as before, the slowest slowed {slowest:.3g} times"
    assert view.summary == (
        f"{len(table)} hands, theta {state['theta']:,}, method {state['method']}: {speeds}. On the original "
        f"{state['trained']:,} tokens {int((plain.turns >= 1).sum())} finish a turn. On {state['length']:,} tokens, "
        f"{int(table.unseen.sum())} reach angles they never had. Wavelengths from {table.wavelength.min():.3g} to "
        f"{table.wavelength.max():,.0f} tokens."
    )


def test_after_every_seeded_move_the_view_says_what_measure_says():
    rng, view, summaries = random.Random(0), RoPEView(), []
    check(view)
    for _ in range(200):
        spec = rng.choice(view.controls)
        view.state = view.state | {spec["name"]: rng.choice(spec["values"])}
        summaries.append(view.summary)
        if view.problem:
            assert view.state["beta_slow"] >= view.state["beta_fast"] and "beta_slow" in view.problem
        else:
            check(view)
    assert sum(a != b for a, b in pairwise(summaries)) > 80, "the words follow the moves"


@pytest.mark.parametrize(
    ("start", "preset", "changes"),
    [
        ("GPT-OSS: YaRN x32", "gpt-oss-120b", {}),
        ("DeepSeek-V3: YaRN x40", "deepseek-v3", {}),
        ("Qwen3, long stage: ABF", "qwen3-235b-a22b", {}),
        (
            "Qwen3, inference: YaRN x4",
            "qwen3-235b-a22b",
            {"scaling": YaRN(factor=4.0, original_max_position_embeddings=32_768)},
        ),
    ],
)
def test_starting_points_are_the_models_own(start, preset, changes):
    view, attention = RoPEView(start=start), lmlab.config(preset).blocks[0].attention
    rope = RoPEConfig(**{"rope_theta": attention.rope.rope_theta, "scaling": attention.rope.scaling} | changes)
    assert view.data["frequency"] == pytest.approx(rope.inverse_frequencies(attention.rope_dim).tolist(), rel=1e-6)
    check(view)


def test_every_control_can_say_every_state():
    view = RoPEView()
    for start in STARTS:
        view.state = view.state | {"start": start}
        for spec in view.controls:
            assert view.state[spec["name"]] in spec["values"], f"{start}: {spec['name']}"
            assert len(spec["values"]) == len(spec["labels"])
    assert sum(not spec["more"] for spec in view.controls) <= 4


def test_choosing_a_start_moves_the_controls_and_moving_one_keeps_the_others():
    view = RoPEView()
    view.state = view.state | {"start": "Qwen3, long stage: ABF"}
    assert (view.state["method"], view.state["theta"], view.state["trained"]) == ("ABF", 10_000, 4096)
    view.state = view.state | {"factor": 64}
    assert view.state["method"] == "ABF" and view.state["factor"] == 64


def test_a_first_state_that_is_refused_is_said():
    view = RoPEView(beta_slow=64)
    assert view.data == {} and "beta_slow=64 must lie below beta_fast=32" in view.problem
