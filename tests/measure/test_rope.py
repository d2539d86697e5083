"""The hands of the lessons, counted; and what unseen means."""

import math

import pytest
import torch
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import lmlab
from lmlab.families import to_hf
from lmlab.measure.rope import hands, overview, score_by_distance
from lmlab.parts.rope import ABF, PositionInterpolation, RoPEConfig, YaRN

QWEN3 = RoPEConfig(rope_theta=10_000.0)


def finished(table) -> int:
    return int((table.turns >= 1).sum())


def test_stretching_shows_hands_angles_they_never_had():
    short = hands(QWEN3, 128, 4096)
    assert len(short) == 64 and finished(short) == 46 and not short.unseen.any()
    long = hands(QWEN3, 128, 32_768, trained=QWEN3, trained_length=4096)
    assert finished(long) == 60
    assert int(long.unseen.sum()) == 18, "all that had not finished go further now"
    assert int((long.unseen & (long.turns >= 1)).sum()) == 14, "14 of them come round to the angles of the fast ones"


def test_raising_theta_sends_none_of_the_slow_hands_further():
    raised = RoPEConfig(rope_theta=10_000.0, scaling=ABF(rope_theta=1e6))
    table = hands(raised, 128, 32_768, trained=QWEN3, trained_length=4096)
    assert finished(table) == 40 and not table.unseen.any()


def test_gpt_oss_turns_18_of_32_within_its_original_length():
    rope = lmlab.config("gpt-oss-20b").blocks[0].attention.rope
    assert finished(hands(RoPEConfig(rope_theta=rope.rope_theta), 64, 4096)) == 18


def test_interpolation_and_yarn_leave_nothing_unseen():
    for scaling in (PositionInterpolation(factor=8.0), YaRN(factor=8.0, original_max_position_embeddings=4096)):
        stretched = RoPEConfig(rope_theta=10_000.0, scaling=scaling)
        table = hands(stretched, 128, 8 * 4096, trained=QWEN3, trained_length=4096)
        slow = table.trained_turns < 1
        assert table.slowed[slow].tolist() == pytest.approx([8] * int(slow.sum()), rel=1e-4)
        assert not table.unseen.any()


def test_columns_agree_with_each_other():
    table = hands(lmlab.config("gpt-oss-120b").blocks[0].attention.rope, 64, 131_072)
    assert (table.frequency * table.wavelength).tolist() == pytest.approx([2 * math.pi] * 32)
    assert table.turns.tolist() == pytest.approx((131_072 / table.wavelength).tolist())
    assert table.ramp.iloc[0] == 0 and table.ramp.iloc[-1] == 1 and table.ramp.is_monotonic_increasing


@pytest.mark.parametrize("name", ["gpt-oss-20b", "gpt-oss-120b", "deepseek-v3", "deepseek-v3.1", "deepseek-v2-lite"])
def test_the_ramp_is_the_one_in_transformers_frequencies(name):
    """transformers gives frequencies alone: kept / slowed / between says where on the ramp each stands."""
    attention = lmlab.config(name).blocks[0].attention
    width = getattr(attention, "qk_rope_head_dim", None) or attention.head_dim
    config = AutoConfig.for_model(**to_hf(lmlab.config(name)))
    config.head_dim = width
    theirs = ROPE_INIT_FUNCTIONS["yarn"](config, "cpu")[0].double()
    plain = attention.rope.rope_theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    factor = attention.rope.scaling.factor
    ramp = (plain - theirs) / (plain - plain / factor)
    assert hands(attention.rope, width, 4096).ramp.tolist() == pytest.approx(ramp.tolist(), abs=1e-6)


def test_a_score_sees_only_the_distance():
    q, k = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    rope = RoPEConfig(rope_theta=100.0)
    scores = score_by_distance(q, k, rope, torch.arange(7), [6, 50, 300])
    assert list(scores.columns) == ["6", "50", "300"] and list(scores.index) == [*range(7)]
    assert scores["50"].tolist() == pytest.approx(scores["6"].tolist(), abs=1e-4)
    assert scores["300"].tolist() == pytest.approx(scores["6"].tolist(), abs=1e-3)
    assert scores.iloc[0].tolist() == pytest.approx([float(q @ k)] * 3, abs=1e-5)
    turned = rope.build(10)
    key = turned.rotate(k, *(table[0, 0, 0] for table in turned(torch.tensor([[-4]]))))
    assert scores["6"][4] == pytest.approx(float(q @ key), abs=1e-5), "the key four places before the query"


def test_the_overview_of_the_lesson():
    names = ("gpt-oss-120b", "qwen3-235b-a22b", "deepseek-v3")
    table = overview({name: lmlab.config(name) for name in names}, dict(zip(names, (4096, 32_768, 4096), strict=True)))
    assert table.loc["hands that finish a turn in it"].tolist() == [18, 40, 23]
    assert table.loc["a turn of the slowest, tokens"].tolist() == ["649,409", "5,063,256", "47,117"]
    assert table.loc["dimensions of a query that rotate"].tolist() == ["64 of 64", "128 of 128", "64 of 192"]


def test_a_little_further_counts_and_a_rounding_does_not():
    rope = RoPEConfig(rope_theta=10_000.0)
    assert not hands(rope, 64, 4096, trained=rope, trained_length=4096).unseen.any()
    assert int(hands(rope, 64, 4097, trained=rope, trained_length=4096).unseen.sum()) == 9


@pytest.mark.parametrize("call", [lambda: hands(RoPEConfig(rope_theta=1e4), 7, 10), lambda: score(start=3)])
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ValueError, match="must be an even number|let it start later"):
        call()


def score(start):
    return score_by_distance(torch.ones(4), torch.ones(4), RoPEConfig(rope_theta=1e4), torch.arange(5), [start])
