"""MXFP4 as GPT-OSS stores it: bit-exact dequantisation, nibble order, blocks along the input, rounding to even."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.formats import mxfp4


def random_bytes(*shape, high=255, seed=0):
    return torch.randint(0, high, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_dequantisation_equals_transformers_bit_for_bit():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks, scales = (
        random_bytes(3, 10, 4, 16, high=256),
        random_bytes(3, 10, 4, seed=1),
    )  # every scale, 2^-127 included
    theirs = convert_moe_packed_tensors(blocks, scales)  # transposed: (E, in, out)
    ours = mxfp4.dequantize(blocks, scales)
    assert ours.shape == (3, 10, 128) and ours.dtype == torch.bfloat16
    assert torch.equal(ours, theirs.mT)
    assert torch.equal(torch.signbit(ours), torch.signbit(theirs.mT))  # minus zero too


def test_every_code_stands_for_its_number():
    blocks = mxfp4.pack(torch.arange(16, dtype=torch.uint8).repeat(2)[None, None])  # (1, 1, 16): one block of 32
    weight = mxfp4.dequantize(blocks[None], torch.full((1, 1, 1), 128, dtype=torch.uint8), torch.float32)
    expected = 2 * torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    assert torch.equal(weight.flatten(), expected.repeat(2))
    assert torch.signbit(weight.flatten()[8])


def test_the_even_element_is_in_the_low_nibble():
    assert mxfp4.pack(torch.tensor([0x3, 0xA], dtype=torch.uint8)).tolist() == [0xA3]
    assert mxfp4.unpack(torch.tensor([0xA3], dtype=torch.uint8)).tolist() == [0x3, 0xA]
    codes = random_bytes(5, 64, high=16)
    assert torch.equal(mxfp4.unpack(mxfp4.pack(codes)), codes)


def test_blocks_run_along_the_input_dimension():
    weight = torch.full((2, 64), 1.0)
    weight[0, :32] = 16.0  # one block of one row is larger
    blocks, scales = mxfp4.quantize(weight)
    assert blocks.shape == (2, 2, 16) and scales.shape == (2, 2)
    assert scales.tolist() == [[129, 125], [125, 125]]  # 2^2 and 2^-2: the largest magnitude is 4 in either block
    assert torch.equal(mxfp4.dequantize(blocks, scales, torch.float32), weight)


def test_ties_go_to_the_even_mantissa_and_large_values_saturate():
    block = torch.zeros(1, 32)
    block[0, :12] = torch.tensor([4.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.9, -0.25, -0.75, -7.9])
    blocks, scales = mxfp4.quantize(block)
    assert scales.tolist() == [[127]]  # 7.9 = 1.975 * 2^2
    back = mxfp4.dequantize(blocks, scales, torch.float32)[0, :12]
    assert back.tolist() == [4.0, 0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0, -0.0, -1.0, -6.0]


@given(st.integers(0, 2**31), st.integers(-20, 20))
@settings(max_examples=50, deadline=None)
def test_what_can_be_represented_survives_and_the_rest_is_near(seed, exponent):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 96, generator=generator) * 2.0**exponent
    blocks, scales = mxfp4.quantize(weight)
    back = mxfp4.dequantize(blocks, scales, torch.float32)
    again = mxfp4.dequantize(*mxfp4.quantize(back), torch.float32)
    assert torch.equal(back, again)
    step = (2.0 ** (scales.float() - 126)).repeat_interleave(32, -1)  # the widest gap is 2
    assert bool(((back - weight).abs() <= step).all())  # 2 at saturation (8 becomes 6), 1 elsewhere


def test_a_block_of_zeros_stays_zero():
    blocks, scales = mxfp4.quantize(torch.zeros(1, 32))
    assert torch.equal(mxfp4.dequantize(blocks, scales, torch.float32), torch.zeros(1, 32))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="33, and must be a multiple of 32"):
        mxfp4.quantize(torch.zeros(2, 33))
    with pytest.raises(ValueError, match=r"need scales of shape \(2, 3\).*got scales of shape \(2, 4\)"):
        mxfp4.dequantize(random_bytes(2, 3, 16), random_bytes(2, 4))
