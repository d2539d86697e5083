"""The benchmarks run and fill their table; what they measure is no matter of tests."""

import pytest

pytest.importorskip("transformers")

from benchmarks import decode, speculation, startup, training, views
from tests.browser.lab import VIEWS, chromium


def check(rows, expected: list[str]) -> None:
    assert [row.what for row in rows] == expected
    assert all(row.ratio > 0 and row.lmlab and row.goal for row in rows)


def test_decode():
    rows = decode.rows(repeats=1, new=4, names=("mini-deepseek-v3",), compiled=False)
    check(rows, ["decode mini-deepseek-v3, eager"])


def test_speculation():
    rows = speculation.rows(repeats=1, texts=2, new=6, compiled=False)
    what = ["drafts kept, greedy", "drafts kept, temperature 1"]
    what += ["speculative, eager, greedy", "speculative, eager, temperature 1"]
    assert [row.what for row in rows] == what
    assert all(row.lmlab and row.goal for row in rows) and all(row.ratio > 0 for row in rows[2:])


def test_training():
    rows = training.rows(repeats=1, batch=2, length=8, names=("mini-gpt-oss", "mini-qwen3"))
    check(rows, ["training mini-gpt-oss", "training mini-qwen3"])


def test_meta_build():
    check([startup._meta_build(repeats=1)], ["build and count deepseek-v3 on meta"])


@pytest.mark.browser
def test_views():
    chromium()
    rows = views.rows(presses=4, warm_up=1, names=VIEWS[:1])
    check(rows, ["CacheView, single keys, key to picture", "CacheView, keys in a row, key to picture"])
