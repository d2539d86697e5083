"""What was read in pieces, padded, trimmed or started anew equals what was read at once."""

import pytest
import torch

import lmlab
from lmlab.families import PRESETS
from lmlab.model import LanguageModel
from lmlab.parts.moe import MoE
from tests import hf
from tests.small import random_model

LENGTH = 70  # past both windows: 11, and the miniatures' 32


@pytest.fixture(scope="module", params=PRESETS)
def model(request) -> LanguageModel:
    return random_model(request.param)


def window_of(model: LanguageModel) -> int:
    windows = [getattr(block.attention, "sliding_window", None) for block in model.config.blocks]
    return next((window for window in windows if window is not None), 11)


def read(model: LanguageModel, ids: torch.Tensor, chunks: int | list[int], cache=None, **first) -> torch.Tensor:
    cache = cache or model.make_cache(ids.shape[0], ids.shape[1])
    outs = []
    for piece in ids.split(chunks, dim=1):
        outs.append(model(piece, cache, **first))
        first = {}
    return torch.cat(outs, dim=1)


def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("chunk", ["1", "2", "window - 1", "window", "window + 1", "mixed"])
@torch.no_grad()
def test_cached_equals_uncached(model, chunk):
    window = window_of(model)
    length = window + 25
    ids = hf.ids(2, length)
    size = {"1": 1, "2": 2, "window - 1": window - 1, "window": window, "window + 1": window + 1}.get(chunk)
    mixed = [3, 1, window + 2, 1, 1, 7, 2]
    assert_same(read(model, ids, size or [*mixed, length - sum(mixed)]), model(ids))


@torch.no_grad()
def test_a_compiled_step_reads_the_whole_buffer_and_gets_the_same(model, monkeypatch):
    ids = hf.ids(2, 20)
    expected = model(ids)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert_same(read(model, ids, 1, model.make_cache(2, 29)), expected)


@pytest.fixture(scope="module")
def padded(model):
    """Rows of unequal length, random tokens in the padding too: they must not matter. -> ids, lengths, alone."""
    ids, lengths = hf.ids(3, LENGTH), torch.tensor([9, LENGTH, LENGTH - 12])
    with torch.no_grad():
        alone = [model(row[None, -int(n) :])[0] for row, n in zip(ids, lengths, strict=True)]
    return ids, lengths, alone


def assert_rows_same(got: torch.Tensor, alone: list[torch.Tensor]) -> None:
    assert got.isfinite().all()
    for row, expected in zip(got, alone, strict=True):
        assert_same(row[-len(expected) :], expected)


@torch.no_grad()
def test_rows_of_unequal_length_equal_each_row_alone(model, padded):
    ids, lengths, alone = padded
    assert_rows_same(model(ids, lengths=lengths), alone)


@torch.no_grad()
def test_unequal_rows_read_in_pieces(model, padded):
    ids, lengths, alone = padded
    first = LENGTH - 8
    assert_rows_same(read(model, ids, [first, 1, 1, 6], lengths=lengths - 8), alone)
    cache = model.make_cache(3, LENGTH)
    cache.padding = LENGTH - lengths  # known beforehand: the first pieces hold nothing of the first row
    assert_rows_same(read(model, ids, [20, 1, 11, 29, 1, 8], cache), alone)


@torch.no_grad()
def test_padding_reaches_no_expert(model, padded):
    ids, lengths, _ = padded
    counts = []
    routers = [module.router for module in model.modules() if isinstance(module, MoE)]
    hooks = [
        router.register_forward_hook(lambda module, inputs, output: counts.append(output.indices.shape[0]))
        for router in routers
    ]
    model(ids, lengths=lengths)
    used = [block for block in model.config.blocks if hasattr(block.mlp, "router")]
    assert counts == [int(lengths.sum())] * len(used)
    counts.clear()
    cache = model.make_cache(3, LENGTH)
    cache.padding = LENGTH - lengths
    read(model, ids, [20, 1, 11, 29, 1, 8], cache)
    assert sum(counts) == int(lengths.sum()) * len(used)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def test_what_is_trimmed_was_never_read(model):
    window, ids, wrong = window_of(model), hf.ids(2, LENGTH), hf.ids(2, 4, seed=9)
    cache, outs = model.make_cache(2, LENGTH + 4, slack=4), []
    for piece in ids.split([window + 3, 1, 2, LENGTH - window - 6], dim=1):
        model(wrong, cache)
        cache.trim(4)
        outs.append(model(piece, cache))
    assert int(cache.length) == LENGTH
    assert_same(torch.cat(outs, dim=1), model(ids))


@torch.no_grad()
def test_a_full_window_without_slack_cannot_be_trimmed(model):
    cache = model.make_cache(2, LENGTH)
    model(hf.ids(2, 50), cache)
    if any(getattr(block.attention, "sliding_window", None) for block in model.config.blocks):
        with pytest.raises(ValueError, match="slack=2"):
            cache.trim(2)
        assert int(cache.length) == 50
    else:
        cache.trim(2)
        assert int(cache.length) == 48


@torch.no_grad()
def test_a_reset_cache_is_as_new(model, padded):
    ids, lengths, _ = padded
    cache = model.make_cache(3, LENGTH)
    model(ids, cache, lengths=lengths)
    cache.reset()
    assert_same(read(model, ids, [40, 30], cache), model(ids))


def test_bytes_are_those_of_the_formula(model):
    for batch, length in ((1, 7), (3, 50)):
        per_row = sum(block.attention.cache_elements(length) for block in model.config.blocks)
        assert model.make_cache(batch, length).nbytes == batch * per_row * 4


@torch.no_grad()
def test_bf16_runs_padded_and_cached(model):
    low = lmlab.build(model.config, dtype=torch.bfloat16).eval()
    low.load_state_dict(model.state_dict())
    for module in low.modules():
        if hasattr(module, "inv_freq"):
            assert module.inv_freq.dtype == torch.float32
    ids, lengths = hf.ids(2, 24), torch.tensor([24, 9])
    logits = read(low, ids, [20, 4], lengths=lengths - 4)
    assert logits.dtype == torch.bfloat16 and logits.isfinite().all()
    assert low.make_cache(1, 5).nbytes == model.make_cache(1, 5).nbytes // 2
