"""Bytes are asserted against caches really allocated, and against the figures that the vendors publish."""

from dataclasses import replace

import pytest
import torch

import lmlab
from lmlab.families import PRESETS
from lmlab.measure import memory


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("length", [1, 100, 128, 129, 1000])
def test_bytes_are_those_of_the_allocated_cache(name, length):
    model = lmlab.build(lmlab.config(name), device="meta", dtype=torch.bfloat16)
    cache = model.make_cache(3, length)
    assert cache.nbytes == memory.cache_bytes(model.config, length, batch_size=3)
    by_layer = memory.cache_by_layer(model.config, length, batch_size=3)
    assert [layer.nbytes for layer in cache.layers] == by_layer["bytes"].tolist()


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("mini-")])
def test_bytes_are_those_of_real_memory(name):
    model = lmlab.build(lmlab.config(name))
    cache = model.make_cache(2, 70)
    stored = sum(buffer.untyped_storage().nbytes() for layer in cache.layers for buffer in layer.buffers)
    assert stored == cache.nbytes == memory.cache_bytes(model.config, 70, batch_size=2, dtype=torch.float32)


@pytest.mark.parametrize(
    ("name", "length", "gigabytes"),
    [
        ("qwen3-0.6b", 40_960, 4.70),
        ("gpt-oss-120b", 131_072, 4.84),
        ("deepseek-v3", 131_072, 9.21),
        ("qwen3-235b-a22b", 131_072, 25.23),
    ],
)
def test_figures_that_popular_calculators_get_wrong(name, length, gigabytes):
    assert memory.cache_bytes(lmlab.config(name), length) / memory.GB == pytest.approx(gigabytes, abs=0.005)


def test_the_same_heads_as_mha():
    config = lmlab.config("deepseek-v3")
    assert memory.cache_bytes_as_mha(config, 131_072) / memory.GB == pytest.approx(655, abs=0.5)
    assert memory.cache_bytes_as_mha(config, 1) == 61 * 128 * (192 + 128) * 2
    assert memory.cache_bytes_as_mha(lmlab.config("qwen3-0.6b"), 10) == 2 * memory.cache_bytes(
        lmlab.config("qwen3-0.6b"), 10
    )


def test_a_window_stops_growing_and_a_latent_does_not():
    layers = memory.cache_by_layer(lmlab.config("gpt-oss-20b"), 4096)
    assert layers["kind"].tolist() == ["window", "full"] * 12
    assert layers.loc[0, "bytes"] == 2 * 8 * 64 * 128 * 2 and layers.loc[1, "bytes"] == 2 * 8 * 64 * 4096 * 2
    assert set(memory.cache_by_layer(lmlab.config("deepseek-v3"), 7)["kind"]) == {"latent"}


def test_by_length_has_a_row_per_length_and_a_column_per_model():
    configs = {name: lmlab.config(name) for name in ("qwen3-8b", "gpt-oss-20b")}
    table = memory.cache_by_length(configs, [128, 256])
    assert table.loc[256, "qwen3-8b"] == 2 * table.loc[128, "qwen3-8b"] == memory.cache_bytes(configs["qwen3-8b"], 256)
    assert table.loc[256, "gpt-oss-20b"] == 1.5 * table.loc[128, "gpt-oss-20b"]


def test_checkpoint_sizes_are_those_of_the_model_card():
    assert memory.weight_bytes(lmlab.config("gpt-oss-20b"), "mxfp4") / memory.GIB == pytest.approx(12.816, abs=0.001)
    assert memory.weight_bytes(lmlab.config("gpt-oss-120b"), "mxfp4") / memory.GIB == pytest.approx(60.768, abs=0.001)


def test_formats_count_every_tensor_of_a_saved_miniature(tmp_path):
    from safetensors import safe_open

    for name, quantization in (("mini-gpt-oss", "mxfp4"), ("mini-deepseek-v3", "fp8"), ("mini-qwen3", None)):
        model = lmlab.build(lmlab.config(name), dtype=torch.bfloat16)
        lmlab.save(model, tmp_path / name, quantization=quantization)
        with safe_open(tmp_path / name / "model.safetensors", "pt") as file:
            stored = {key: file.get_tensor(key).nbytes for key in file.keys()}  # noqa: SIM118
        biases = sum(size for key, size in stored.items() if key.endswith("e_score_correction_bias"))
        expected = memory.weight_bytes(model.config, quantization or "bf16", mtp=True)
        assert sum(stored.values()) - biases == expected


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="'int4' is not one of bf16, fp8, mxfp4, mxfp4 throughout"):
        memory.weight_bytes(lmlab.config("qwen3-8b"), "int4")


def test_the_longest_text_that_fits():
    config = lmlab.config("deepseek-v3")
    each = memory.cache_bytes(config, 1)
    for tokens in (0, 1, 2, 3, 1000):
        assert memory.longest_text(config, tokens * each) == tokens
        assert memory.longest_text(config, tokens * each + each - 1) == tokens
    assert memory.longest_text(config, 10 * each, batch_size=3) == 3
    slides = config.with_parts(attention=lambda _: replace(lmlab.config("gpt-oss-20b").blocks[0].attention))
    assert memory.longest_text(slides, 10**12) is None
