"""Costs against bytes really allocated, parameters really counted, choices really drawn, and sums by hand."""

from collections import Counter

import pytest
import torch

import lmlab
from lmlab.formats import fp8, mxfp4
from lmlab.measure import cost, flops, memory, sizes
from lmlab.measure.cost import Cost
from lmlab.measure.devices import device

FLAGSHIPS = ["gpt-oss-120b", "qwen3-0.6b", "qwen3-235b-a22b", "deepseek-v3"]
H100 = device("nvidia-h100-sxm")
BITS = {"bf16": 16, "fp8": 8, "mxfp4": 4.25}


def of(name: str, *, on=H100, **options) -> Cost:
    return Cost(lmlab.config(name), on, **options)


@pytest.mark.parametrize(("experts", "chosen", "tokens"), [(128, 4, 32), (256, 8, 7), (32, 4, 1), (6, 2, 3)])
def test_touched_experts_are_those_of_a_simulation(experts, chosen, tokens):
    draws = torch.rand(3000, tokens, experts, generator=torch.Generator().manual_seed(0))
    picked = torch.zeros(3000, experts).scatter_(1, draws.topk(chosen).indices.flatten(1), 1).sum(1)
    error = picked.std() / 3000**0.5
    assert cost.touched(experts, chosen, tokens) == pytest.approx(picked.mean().item(), abs=4 * error.item() + 1e-6)


def test_touched_experts_grow_from_the_chosen_to_all():
    every = [cost.touched(128, 4, n) for n in (0, 1, 2, 10**6)]
    assert every == pytest.approx([0, 4, 4 + 4 * (1 - 4 / 128), 128])
    assert round(cost.touched(128, 4, 32)) == 82
    with pytest.raises(ValueError, match=r"chosen=9 must lie in 1\.\.8"):
        cost.touched(8, 9, 1)


@pytest.mark.parametrize("name", FLAGSHIPS)
def test_weights_are_the_parameters_of_the_whole_module(name):
    model = lmlab.build(lmlab.config(name), device="meta", dtype=torch.bfloat16)
    held = sum(p.nbytes for p in model.parameters()) - sum(p.nbytes for p in model.mtp.parameters())
    assert of(name, weight_format="bf16").weights == held
    assert of(name).stored == memory.released_format(model.config)
    assert of(name).weights == memory.weight_bytes(model.config, memory.released_format(model.config))


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-qwen3", "mini-deepseek-v3"])
@pytest.mark.parametrize("format", BITS)
def test_the_cache_is_what_is_allocated(name, format):
    model = lmlab.build(lmlab.config(name), dtype=torch.bfloat16)
    buffers = [buffer for layer in model.make_cache(3, 70).layers for buffer in layer.buffers]
    if format == "mxfp4":  # really packed
        packed = [part for buffer in buffers for part in mxfp4.quantize(buffer.reshape(-1, 32))]
    else:
        packed = [buffer.to(memory.CACHE_FORMATS[format]) for buffer in buffers]
    stored = sum(part.untyped_storage().nbytes() for part in packed)
    assert of(name, batch=3, context=70, cache_format=format).cache == stored


@pytest.mark.parametrize("format", ["mxfp4 throughout", "fp8"])
def test_weight_formats_are_what_quantizing_every_matrix_takes(format):
    model = lmlab.build(lmlab.config("mini-qwen3"), dtype=torch.bfloat16)
    stored = 0
    for name, parameter in model.named_parameters():
        kept = parameter.dim() < 2 or "embed" in name or "lm_head" in name
        quantize = fp8.quantize_weight if format == "fp8" else mxfp4.quantize
        stored += sum(part.nbytes for part in ([parameter] if kept else quantize(parameter.detach())))
    assert memory.weight_bytes(model.config, format) == stored


@pytest.mark.parametrize("name", FLAGSHIPS)
@pytest.mark.parametrize("format", memory.WEIGHT_FORMATS)
def test_components_add_up_and_are_named_as_the_counted_ones(name, format):
    config = lmlab.config(name)
    parts = memory.weights_by_component(config, format, mtp=True)
    counted = sizes.count(config)["total"]
    assert list(parts) == list(counted.index)
    assert sum(parts.values()) == memory.weight_bytes(config, format, mtp=True)
    assert parts["embedding"] == 2 * counted["embedding"] and parts["norms"] == 2 * counted["norms"]


@pytest.mark.parametrize("name", FLAGSHIPS)
@pytest.mark.parametrize(("batch", "context"), [(1, 700), (5, 8192)])
def test_flops_are_those_that_measure_counts(name, batch, context):
    config, priced = lmlab.config(name), of(name, batch=batch, context=context)
    assert priced.decode().flops == batch * flops.total(config, 1, context)
    assert priced.prefill.flops == batch * flops.total(config, context)
    assert (priced.decode().tokens, priced.prefill.tokens) == (batch, batch * context)
    assert priced.decode(7).flops == 7 * flops.total(config, 1, context)


@pytest.mark.parametrize("tokens", [1, 3, 40])
def test_a_pass_reads_the_experts_that_its_tokens_choose(tokens):
    """The bytes of every parameter that some token uses, with choices drawn at random, on a real module."""
    model = lmlab.build(lmlab.config("mini-deepseek-v3"), dtype=torch.bfloat16)
    router = model.config.blocks[-1].mlp.router
    generator, rounds, read = torch.Generator().manual_seed(1), 200, 0.0
    sizes_of = Counter()
    for name, parameter in model.named_parameters():
        place = "mtp" if name.startswith("mtp") else "experts" if ".experts." in name else "embed" * ("embed" in name)
        sizes_of[place or "rest"] += parameter.nbytes
    for _ in range(rounds):
        chosen = torch.rand(tokens, router.num_experts, generator=generator).topk(router.num_experts_per_tok).indices
        read += sizes_of["rest"] + sizes_of["experts"] * len(chosen.unique()) / router.num_experts
    read = read / rounds + tokens * model.config.hidden_size * 2
    expected = of("mini-deepseek-v3", weight_format="bf16").weights_read(tokens)
    assert expected == pytest.approx(read, rel=0.02)


def test_a_tied_table_is_read_once_and_an_untied_one_by_the_row():
    tied, untied = of("qwen3-0.6b"), of("qwen3-8b")
    assert tied.weights_read(1) == tied.weights_read(10**6) == tied.weights
    table = 151_936 * 4096 * 2
    assert untied.weights_read(3) == untied.weights - table + 3 * 4096 * 2
    assert untied.weights_read(10**9) == untied.weights


def test_experts_apart():
    priced = of("gpt-oss-120b", batch=32)
    held = memory.weights_by_component(priced.config, "mxfp4")["experts"]
    found = priced.experts(32)
    assert found["total"] == held and found["active"] == held * 4 / 128
    assert found["touched"] == pytest.approx(held * cost.touched(128, 4, 32) / 128)
    assert priced.experts(1)["touched"] == pytest.approx(found["active"])
    assert set(of("qwen3-8b").experts(9).values()) == {0}
    assert priced.weights_read(32) - priced.weights_read(1) == pytest.approx(
        found["touched"] - found["active"] + 31 * 2880 * 2
    )


def test_the_roofline_by_hand():
    priced = of("qwen3-8b", batch=4, context=1000)
    step = priced.decode()
    weights = 2 * (8_190_735_360 - 151_936 * 4096) + 4 * 4096 * 2
    cache = 4 * 1001 * 36 * 2 * 8 * 128 * 2
    assert (step.weights, step.cache) == (pytest.approx(weights), cache)
    assert step.moving == pytest.approx((weights + cache) / 3.35e12)
    assert step.computing == pytest.approx(step.flops / 989e12)
    assert step.bound == "bandwidth" and step.seconds == step.moving
    assert step.tokens_per_second == pytest.approx(4 / step.moving)
    assert step.flops_per_second == pytest.approx(step.intensity * 3.35e12) and step.flops_per_second < 989e12
    prefill = priced.prefill
    assert prefill.bound == "compute" and prefill.flops_per_second == pytest.approx(989e12)
    assert prefill.intensity > H100.ridge > step.intensity
    assert prefill.cache == priced.cache == memory.cache_bytes(priced.config, 1000, 4)


def test_eight_devices_are_eight_times_as_fast_and_hold_eight_times_as_much():
    one, eight = of("qwen3-32b"), of("qwen3-32b", on=device("nvidia-h100-sxm", 8))
    assert eight.decode().tokens_per_second == pytest.approx(8 * one.decode().tokens_per_second)
    assert eight.prefill.tokens_per_second == pytest.approx(8 * one.prefill.tokens_per_second)
    assert eight.device.memory == 8 * one.device.memory and eight.decode().intensity == one.decode().intensity


def test_fp8_is_multiplied_in_fp8_where_the_device_can():
    both = [of("deepseek-v3", weight_format=format).prefill for format in ("bf16", "fp8")]
    parts = flops.flops(lmlab.config("deepseek-v3"), 8192)["flops"]
    slow = parts["scores"] + parts["router"] + parts["head"]
    assert both[0].computing == pytest.approx(parts.sum() / 989e12)
    assert both[1].computing == pytest.approx(slow / 989e12 + (parts.sum() - slow) / 1979e12)
    a100 = device("nvidia-a100-sxm")
    assert of("deepseek-v3", on=a100).prefill.computing == pytest.approx(parts.sum() / 312e12)
    assert of("gpt-oss-20b").prefill.flops_per_second == pytest.approx(989e12)  # MXFP4 is unpacked first


@pytest.mark.parametrize("name", ["gpt-oss-120b", "qwen3-30b-a3b", "deepseek-v3"])
@pytest.mark.parametrize("format", BITS)
def test_the_longest_context_fits_and_the_next_does_not(name, format):
    priced = of(name, on=device("nvidia-h200-sxm", 8), batch=3, cache_format=format)
    for context, fits in ((priced.longest, True), (priced.longest + 1, False)):
        assert of(name, on=priced.device, batch=3, context=context, cache_format=format).fits is fits
    assert priced.free == priced.device.memory - priced.weights - priced.cache


def test_what_does_not_fit_says_so():
    priced = of("deepseek-v3")
    assert not priced.fits and priced.free < 0 and priced.longest == 0


def test_decode_costs_more_with_the_context_and_windows_less_than_none():
    def growth(name):
        return of(name, context=131_072).decode().flops / of(name, context=128).decode().flops

    assert growth("qwen3-8b") > 2 and growth("gpt-oss-20b") < growth("qwen3-30b-a3b")


def test_compare_has_a_row_for_each_model():
    configs = {name: lmlab.config(name) for name in ("gpt-oss-120b", "qwen3-8b")}
    table = cost.compare(configs, H100, batch=2, context=512)
    assert list(table.index) == [*configs]
    priced = of("gpt-oss-120b", batch=2, context=512)
    row = table.loc["gpt-oss-120b"]
    assert (row.parameters, row.active) == (116_829_156_672, 5_132_849_472)
    assert (row.weights, row.cache, row.free, row.longest) == (
        *(priced.weights, priced.cache),
        *(priced.free, priced.longest),
    )
    assert row.decode_flops_per_token == flops.total(priced.config, 1, 512)
    assert row.prefill_tokens_per_second == priced.prefill.tokens_per_second
    assert (row.decode_bound, row.prefill_bound) == ("bandwidth", priced.prefill.bound)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch": 0}, "batch=0 and context=8192 must be 1 or more"),
        ({"context": 0}, "batch=1 and context=0 must be 1 or more"),
        ({"cache_format": "int4"}, "'int4' is not one of bf16, fp8, mxfp4"),
    ],
)
def test_what_cannot_be_priced_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        of("qwen3-8b", **options)
    with pytest.raises(ValueError, match="'int4' is not one of bf16, fp8, mxfp4, mxfp4 throughout"):
        _ = of("qwen3-8b", weight_format="int4").weights
