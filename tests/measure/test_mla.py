"""The costs of the two forms of MLA, against the model's own FLOPs, its cache, and its own choice."""

from types import SimpleNamespace

import pytest
import torch

import lmlab
from lmlab.measure import flops, memory
from lmlab.measure.mla import costs, seconds

V3 = lmlab.config("deepseek-v3")
ATTENTION = V3.blocks[0].attention


def test_by_hand_for_one_query():
    table = costs(ATTENTION, 1, 4095)
    assert table.flops["absorbed"] == 2 * 128 * 4096 * (576 + 512)
    assert table.flops["keys and values kept"] == 2 * 128 * 4096 * (192 + 128)
    assert table.cache_bytes["absorbed"] == 4096 * 576 * 2
    assert table.cache_bytes["keys and values kept"] == 4096 * 40_960 * 2


@pytest.mark.parametrize(("queries", "context"), [(1, 1000), (170, 3000), (5, 0), (300, 17)])
def test_they_differ_as_the_flops_of_the_whole_model_do(queries, context):
    table = costs(ATTENTION, queries, context)
    expanded, absorbed = (flops.total(V3, queries, context, absorbed=form) for form in (False, True))
    assert 61 * (table.flops["expanded"] - table.flops["absorbed"]) == expanded - absorbed


def test_the_cache_is_the_models():
    table = costs(ATTENTION, 24, 1000, torch.float32)
    assert 61 * table.cache_bytes["absorbed"] == memory.cache_bytes(V3, 1024, dtype=torch.float32)
    as_mha = memory.cache_bytes_as_mha(V3, 1024, dtype=torch.float32)
    assert 61 * table.cache_bytes["keys and values kept"] == as_mha


def test_the_model_changes_form_where_the_costs_cross():
    turn, context = ATTENTION.absorbed_up_to, 10**7  # a long context: the new tokens' own pairs hardly count

    def absorbing_pays(queries):
        table = costs(ATTENTION, queries, context)
        return table.flops["absorbed"] < table.flops["expanded"]

    assert absorbing_pays(turn) and not absorbing_pays(turn + 1)


def test_seconds_has_a_time_for_each_way():
    module = lmlab.config("mini-deepseek-v3").blocks[0].attention.build(128)
    table = seconds(module, [1, 3], context=5)
    assert list(table.index) == [1, 3] and list(table.columns) == list(costs(module.config, 1, 5).index)
    assert (table > 0).all(axis=None)


def test_each_way_is_timed_by_itself(monkeypatch):
    module, ran = lmlab.config("mini-deepseek-v3").blocks[0].attention.build(128), []

    class Counted:
        def __init__(self, _, globals):
            self.way = globals["way"]

        def blocked_autorange(self, min_run_time):
            ran.clear()
            self.way()
            return SimpleNamespace(median="+".join(ran))

    def noted(name):
        real = getattr(module, name)
        return lambda *arguments: (ran.append(name), real(*arguments))[1]

    monkeypatch.setattr("lmlab.measure.mla.Timer", Counted)
    names = ("expanded", "absorbed", "core")
    for name, wrapped in [(name, noted(name)) for name in names]:
        monkeypatch.setitem(module.__dict__ if name != "core" else module._modules, name, wrapped)
    (row,) = seconds(module, [3], context=5).to_dict("records")
    assert row == {"keys and values kept": "core", "expanded": "expanded+core", "absorbed": "absorbed+core"}
