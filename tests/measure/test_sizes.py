"""Exact parameter counts, in each vendor's own counting, and equal to the whole module's."""

import pytest

import lmlab
from lmlab.families import PRESETS
from lmlab.measure import sizes

TOTALS = {
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "deepseek-v3": 671_026_404_352,
    "deepseek-v3.1": 671_026_404_352,
    "deepseek-v2-lite": 15_706_484_224,
}
ACTIVE = {
    "gpt-oss-20b": 3_608_307_264,
    "gpt-oss-120b": 5_132_849_472,
    "qwen3-30b-a3b": 3_353_032_704,
    "qwen3-235b-a22b": 22_190_763_520,
    "deepseek-v3": 36_625_603_584,
    "deepseek-v2-lite": 2_451_435_008,
    "qwen3-8b": 8_190_735_360,  # dense: every parameter
}


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_exact(name):
    assert sizes.total(lmlab.config(name)) == TOTALS[name]


def test_every_full_scale_preset_has_a_known_total():
    assert set(TOTALS) == {name for name in PRESETS if not name.startswith("mini-")}


@pytest.mark.parametrize("name", ACTIVE)
def test_active_parameters_follow_the_vendor(name):
    assert sizes.active(lmlab.config(name)) == ACTIVE[name]


def test_the_embedding_can_be_counted_alike_everywhere():
    assert sizes.active(lmlab.config("deepseek-v3"), embedding=True) == 37_552_282_624
    config = lmlab.config("qwen3-30b-a3b")
    assert sizes.active(config, embedding=False) == ACTIVE["qwen3-30b-a3b"] - 151936 * 2048
    tied = lmlab.config("qwen3-0.6b")
    assert sizes.active(tied, embedding=False) == sizes.active(tied) == TOTALS["qwen3-0.6b"]


def test_the_mtp_module_is_counted_apart():
    config = lmlab.config("deepseek-v3")
    assert sizes.count_mtp(config) == 11_610_067_968
    assert sizes.total(config, mtp=True) == TOTALS["deepseek-v3"] + 11_610_067_968
    assert sizes.count_mtp(lmlab.config("qwen3-8b")) == 0


@pytest.mark.parametrize("name", PRESETS)
def test_the_count_is_that_of_the_whole_module(name):
    model = lmlab.build(lmlab.config(name), device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == sizes.total(model.config, mtp=True)
    assert sum(parameter.numel() for parameter in model.mtp.parameters()) == sizes.count_mtp(model.config)


def test_components_are_what_they_say():
    counts = sizes.count(lmlab.config("gpt-oss-120b"))
    per_expert = 3 * 2880 * 2880 + 2 * 2880 + 2880
    assert counts.loc["experts", "total"] == 36 * 128 * per_expert
    assert counts.loc["experts", "active"] == 36 * 4 * per_expert
    assert counts.loc["router", "total"] == 36 * (128 * 2880 + 128)
    attention = 2880 * 64 * (64 + 8 + 8) + 64 * 80 + 64 * 64 * 2880 + 2880 + 64
    assert counts.loc["attention", "total"] == 36 * attention
    assert counts.loc["norms", "total"] == 73 * 2880
    shared = sizes.count(lmlab.config("deepseek-v3"))
    assert shared.loc["shared experts", "active"] == 58 * 3 * 7168 * 2048
    assert shared.loc["dense mlp", "total"] == 3 * 3 * 7168 * 18432


def test_presets_lists_every_name_full_scale_first():
    table = lmlab.presets()
    assert set(table.index) == set(PRESETS)
    assert table.miniature.is_monotonic_increasing
    assert table.loc["deepseek-v3", "cache_bytes_per_token"] == 61 * 576 * 2
    assert table.loc["gpt-oss-120b", "attention"] == "GQA" and table.loc["deepseek-v3", "attention"] == "MLA"
    assert table.loc["deepseek-v3", ["experts", "experts_per_token", "shared_experts"]].tolist() == [256, 8, 1]
