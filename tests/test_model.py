"""Whole models: what building gives, every shape on the way, no look into the future, and what is refused."""

import pytest
import torch

import lmlab
from lmlab.families import PRESETS
from lmlab.model import LanguageModel, skeleton
from lmlab.parts.moe import MoE
from tests import hf
from tests.small import random_model


@pytest.fixture(scope="module", params=PRESETS)
def model(request) -> LanguageModel:
    return random_model(request.param)


@torch.no_grad()
def test_every_shape_on_the_way(model):
    seen = {}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
        for name, module in model.named_modules()
    ]
    batch, length, config = 2, 13, model.config
    logits = model(hf.ids(batch, length))
    for hook in hooks:
        hook.remove()
    stream = (batch, length, config.hidden_size)
    assert logits.shape == (batch, length, config.vocab_size)
    for name in ("embed_tokens", "norm"):
        assert seen[name].shape == stream
    for i in range(config.num_hidden_layers):
        for name in ("", ".input_layernorm", ".self_attn", ".post_attention_layernorm", ".mlp"):
            assert seen[f"layers.{i}{name}"].shape == stream
        if isinstance(model.layers[i].mlp, MoE):
            routing, router = seen[f"layers.{i}.mlp.router"], config.blocks[i].mlp.router
            assert routing.logits.shape == routing.scores.shape == (batch * length, router.num_experts)
            assert routing.indices.shape == routing.weights.shape == (batch * length, router.num_experts_per_tok)


@torch.no_grad()
def test_the_head_reads_the_normed_stream(model):
    ids = hf.ids(2, 7)
    assert torch.equal(model.lm_head(model.hidden(ids)), model(ids))


@torch.no_grad()
def test_no_token_sees_the_future(model):
    ids = hf.ids(1, 20)
    changed = torch.cat((ids[:, :15], (ids[:, 15:] + 1) % 97), dim=1)
    before, after = model(ids), model(changed)
    torch.testing.assert_close(after[:, :15], before[:, :15], atol=1e-4, rtol=0)
    assert (after[:, 15:] - before[:, 15:]).abs().amax((0, 2)).min() > 1e-3


def test_building():
    config = random_model("qwen3-0.6b").config
    one, two = lmlab.build(config), lmlab.build(config)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    other = lmlab.build(config, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(one.embed_tokens.weight, other.embed_tokens.weight)
    assert lmlab.build(config, dtype=torch.bfloat16).layers[0].self_attn.q_proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-deepseek-v3"])
def test_fresh_weights_have_the_spread_the_configuration_names(name):
    model = lmlab.build(lmlab.config(name))
    for path, tensor in model.state_dict().items():
        if "norm" in path:
            assert torch.equal(tensor, torch.ones_like(tensor)), path
        elif path.endswith(("bias", "e_score_correction_bias")):
            assert not tensor.any(), path
        else:
            assert tensor.isfinite().all(), path
            # the standard error of a deviation over n numbers is 1 / sqrt(2 n) of it
            assert abs(tensor.std() / 0.02 - 1) < 5 / (2 * tensor.numel()) ** 0.5, path


def test_tied_weights_are_one_tensor():
    for device in ("cpu", "meta"):
        model = lmlab.build(lmlab.config("mini-qwen3"), device=device)
        assert model.lm_head.weight is model.embed_tokens.weight
    assert model.config.tie_word_embeddings
    untied = lmlab.build(lmlab.config("mini-gpt-oss"))
    assert untied.lm_head.weight is not untied.embed_tokens.weight


@pytest.mark.parametrize("name", PRESETS)
def test_the_architecture_alone_takes_no_memory(name):
    model = lmlab.build(lmlab.config(name), device="meta")
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert model(torch.zeros(2, 5, dtype=torch.long, device="meta")).shape == (2, 5, model.config.vocab_size)


def test_a_skeleton_keeps_its_frequencies():
    model = skeleton(lmlab.config("mini-gpt-oss"), torch.bfloat16)
    assert all(parameter.is_meta for parameter in model.parameters())
    rope = model.layers[0].self_attn.rope
    assert rope.inv_freq.device.type == "cpu" and torch.equal(rope.inv_freq, rope.config.inverse_frequencies(32))


@pytest.fixture(scope="module")
def mini():
    return random_model("mini-gpt-oss")


def test_caches_that_do_not_fit(mini):
    ids = hf.ids(2, 10)
    cache = mini.make_cache(3, 20)
    with pytest.raises(ValueError, match=r"made for 3 rows, ids has 2: make_cache\(2, ...\)"):
        mini(ids, cache)
    cache = mini.make_cache(2, 17)
    mini(ids, cache)
    with pytest.raises(ValueError, match=r"holds 10 of at most 17 tokens and 10 more.*make_cache\(2, 20\)"):
        mini(ids, cache)
    with pytest.raises(ValueError, match=r"lengths belong to the first chunk.*holds 10 tokens"):
        mini(ids[:, :3], cache, lengths=torch.tensor([3, 2]))
    assert int(cache.length) == 10, "a refused chunk leaves the cache as it was"
    assert mini(ids[:, :7], cache).shape == (2, 7, 1024)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([10], r"shape \(1,\) for ids of 2 rows"),
        ([10, 0], r"from 1 to 10, the width of ids: got \[10, 0\]"),
        ([11, 3], r"got \[11, 3\]"),
    ],
)
def test_lengths_that_cannot_be(mini, lengths, message):
    with pytest.raises(ValueError, match=message):
        mini(hf.ids(2, 10), lengths=torch.tensor(lengths))


def test_gradients_reach_every_weight_and_never_the_padding():
    for name in ("mini-gpt-oss", "mini-qwen3", "mini-deepseek-v3"):
        model = random_model(name)
        ids, lengths = torch.arange(2 * 40).reshape(2, 40), torch.tensor([40, 25])
        real = torch.arange(40) >= 40 - lengths[:, None]
        model(ids, lengths=lengths).logsumexp(-1)[real].sum().backward()
        for path, parameter in model.named_parameters():
            if not path.startswith("mtp"):
                assert parameter.grad is not None and parameter.grad.isfinite().all(), path
                assert parameter.grad.any(), path
        if not model.config.tie_word_embeddings:
            assert not model.embed_tokens.weight.grad[40:55].any(), "tokens 40 to 54 stood in padding only"


def test_ids_are_a_batch():
    model = lmlab.build(lmlab.config("mini-qwen3"))
    with pytest.raises(ValueError, match=r"ids has shape \(3,\): a batch \(B, T\) is expected"):
        model(torch.tensor([1, 2, 3]))
