"""Multi-token prediction equals transformers' module on the same weights, and owns neither embedding nor head."""

import copy

import pytest
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.modeling_layers import MtpLayer

import lmlab
from lmlab.checkpoints import load, save
from tests import hf

BATCH, LENGTH = 2, 13


@pytest.fixture(scope="module")
def pair():
    """transformers' model and one MtpLayer beside it; the same as one model of lmlab."""
    fields = hf.DEEPSEEK | hf.SIGMOID | {"num_mtp_layers": 1}
    config = DeepseekV3Config(**fields, **hf.rope(100.0, mscale=1.0, mscale_all_dim=1.0, **hf.YARN))
    theirs = DeepseekV3ForCausalLM(config)
    last = theirs.model.layers[-1]
    config._attn_implementation = "eager"
    layer = MtpLayer(config, type(last), type(last.input_layernorm), layer_idx=config.num_hidden_layers)
    hf.randomise(theirs, seed=1)
    hf.randomise(layer, seed=2)
    ours = hf.convert(theirs, layer)
    return theirs.eval(), layer.eval(), ours


@torch.no_grad()
def theirs_hidden(theirs, layer, hidden, ids):
    x = theirs.model.embed_tokens(ids)
    angles = theirs.model.rotary_emb(x, torch.arange(ids.shape[1])[None])
    mask = torch.full((ids.shape[1],) * 2, torch.finfo(torch.float32).min).triu(1)[None, None]
    return layer(x, hidden, angles, mask, position_ids=None, past_key_values=None)


@torch.no_grad()
def test_equals_transformers(pair):
    theirs, layer, ours = pair
    ids = hf.ids(BATCH, LENGTH)
    hidden = ours.hidden(ids)
    expected = theirs_hidden(theirs, layer, hidden[:, :-1], ids[:, 1:])
    torch.testing.assert_close(ours.mtp[0].hidden(hidden[:, :-1], ids[:, 1:]), expected, atol=1e-4, rtol=0)
    logits = ours.mtp[0](hidden[:, :-1], ids[:, 1:])
    assert logits.shape == (BATCH, LENGTH - 1, hf.VOCABULARY)
    torch.testing.assert_close(logits, theirs.lm_head(expected), atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_main_model_does_not_change_with_it(pair):
    theirs, _, ours = pair
    ids = hf.ids(BATCH, LENGTH)
    torch.testing.assert_close(ours(ids), hf.logits(theirs, ids), atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_embedding_comes_first(pair):
    mtp, hidden = pair[2].mtp[0], torch.randn(BATCH, LENGTH, 36, generator=torch.Generator().manual_seed(0))
    ids, seen = hf.ids(BATCH, LENGTH), []
    handle = mtp.eh_proj.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    mtp(hidden, ids)
    handle.remove()
    (both,) = seen
    assert both.shape == (BATCH, LENGTH, 2 * 36)
    torch.testing.assert_close(both[..., :36], mtp.enorm(pair[2].embed_tokens(ids)))
    torch.testing.assert_close(both[..., 36:], mtp.hnorm(hidden))


@torch.no_grad()
def test_it_is_causal_and_caches_like_any_block(pair):
    ours, ids = pair[2], hf.ids(BATCH, LENGTH)
    mtp, hidden = ours.mtp[0], ours.hidden(ids)
    expected = mtp(hidden, ids)
    torch.testing.assert_close(mtp(hidden[:, :6], ids[:, :6]), expected[:, :6], atol=1e-5, rtol=0)
    cache = mtp.block.self_attn.make_cache(BATCH, LENGTH, torch.float32, "cpu")
    from lmlab.parts.masks import Timeline

    outs = []
    for columns in torch.arange(LENGTH).split([1, 5, 2, 5]):
        outs.append(mtp(hidden[:, columns], ids[:, columns], Timeline(columns), cache))
    torch.testing.assert_close(torch.cat(outs, dim=1), expected, atol=1e-5, rtol=0)


def test_embedding_and_head_are_the_models_own_counted_and_saved_once(pair, tmp_path):
    ours = pair[2]
    mtp = ours.mtp[0]
    names = {name for name, _ in mtp.named_parameters()}
    assert {name.split(".")[0] for name in names} == {"enorm", "hnorm", "eh_proj", "block", "norm"}
    assert mtp.shared == (ours.embed_tokens, ours.lm_head)
    assert not any("embed" in name or "lm_head" in name for name in ours.state_dict() if name.startswith("mtp"))
    counted = sum(p.numel() for p in ours.parameters())
    alone = sum(p.numel() for p in mtp.parameters())
    main = sum(p.numel() for p in pair[0].parameters())
    assert counted == main + alone
    save(ours, tmp_path)
    for other in (load(tmp_path), copy.deepcopy(ours)):
        assert other.mtp[0].shared[0] is other.embed_tokens and other.mtp[0].shared[1] is other.lm_head


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_building_keeps_them_shared(device):
    ours = lmlab.build(lmlab.config("mini-deepseek-v3"), device=device)
    embed_tokens, lm_head = ours.mtp[0].shared
    assert embed_tokens.weight is ours.embed_tokens.weight and lm_head.weight is ours.lm_head.weight
    assert embed_tokens.weight.device.type == device


def test_a_loss_on_it_trains_the_embedding_and_the_head(pair):
    ours, ids = pair[2], hf.ids(BATCH, LENGTH)
    hidden = ours.hidden(ids).detach()
    loss = ours.mtp[0](hidden[:, :-1], ids[:, 1:]).log_softmax(-1)[..., 3].mean()
    gradients = torch.autograd.grad(loss, [ours.embed_tokens.weight, ours.lm_head.weight, ours.mtp[0].eh_proj.weight])
    assert all(gradient.abs().max() > 0 for gradient in gradients)
