"""The hands of the lessons, counted; and what unseen means."""

import math

import pytest

import lmlab
from lmlab.measure.rope import hands
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
