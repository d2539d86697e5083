"""Checkpoints cross between transformers and lmlab with the same logits, and every fault is named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import lmlab
from lmlab.configuration import DualChunkConfig
from lmlab.files import INDEX, SINGLE
from tests import hf

IDS = hf.ids(2, 40)


@pytest.fixture(scope="module", params=hf.TINY)
def written(request, tmp_path_factory):
    """A transformers model and the folder that it wrote."""
    model = hf.random_model(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return model, folder


@torch.no_grad()
def test_what_transformers_writes_is_read_with_the_same_logits(written):
    model, folder = written
    ours = lmlab.load(folder)
    assert not ours.training
    torch.testing.assert_close(ours(IDS), hf.logits(model, IDS), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_what_lmlab_writes_is_read_by_transformers_with_the_same_logits(written, tmp_path):
    from transformers import AutoModelForCausalLM

    model, folder = written
    ours = lmlab.load(folder)
    assert lmlab.save(ours, tmp_path) == model.config.model_type
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(hf.logits(theirs.eval(), IDS), hf.logits(model, IDS))
    assert torch.equal(lmlab.load(tmp_path)(IDS), ours(IDS))


@torch.no_grad()
def test_shards_both_ways(written, tmp_path):
    model, _ = written
    model.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert (tmp_path / "theirs" / INDEX).exists()
    ours = lmlab.load(tmp_path / "theirs")
    torch.testing.assert_close(ours(IDS), hf.logits(model, IDS), atol=1e-4, rtol=1e-4)
    lmlab.save(ours, tmp_path / "ours", max_shard_bytes=20_000)
    index = json.loads((tmp_path / "ours" / INDEX).read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert all((tmp_path / "ours" / shard).stat().st_size < 60_000 for shard in index["weight_map"].values())
    assert torch.equal(lmlab.load(tmp_path / "ours")(IDS), ours(IDS))


def test_tied_embeddings_are_stored_once_and_stay_tied(tmp_path):
    hf.random_model("qwen3-tied").save_pretrained(tmp_path)
    ours = lmlab.load(tmp_path)
    assert ours.lm_head.weight is ours.embed_tokens.weight
    lmlab.save(ours, tmp_path / "again")
    assert "lm_head.weight" not in load_file(tmp_path / "again" / SINGLE)
    state = load_file(tmp_path / SINGLE)  # a file that holds the copy as well
    save_file(state | {"lm_head.weight": state["model.embed_tokens.weight"].clone()}, tmp_path / SINGLE)
    assert torch.equal(lmlab.load(tmp_path)(IDS), ours(IDS))


@torch.no_grad()
def test_experts_stacked_in_the_file(tmp_path):
    model = hf.random_model("qwen3-moe")
    model.config.save_pretrained(tmp_path)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / SINGLE)
    torch.testing.assert_close(lmlab.load(tmp_path)(IDS), hf.logits(model, IDS), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_checkpoint_that_announces_mtp_and_holds_none(tmp_path):
    model = hf.random_model("deepseek-v3")
    model.save_pretrained(tmp_path)
    edit_config(tmp_path, num_nextn_predict_layers=1)
    with pytest.warns(UserWarning, match="announces multi-token prediction"):
        ours = lmlab.load(tmp_path)
    assert len(ours.mtp) == 0 and ours.config.mtp == ()
    torch.testing.assert_close(ours(IDS), hf.logits(model, IDS), atol=1e-4, rtol=1e-4)


@pytest.fixture
def deepseek(tmp_path):
    """A miniature with MTP, saved; and the tensors of its file."""
    model = lmlab.build(lmlab.config("mini-deepseek-v3")).eval()
    hf.randomise(model)
    lmlab.save(model, tmp_path)
    return model, tmp_path, load_file(tmp_path / SINGLE)


@torch.no_grad()
def test_mtp_is_one_more_layer_in_the_file(deepseek):
    model, folder, state = deepseek
    mtp = {name.removeprefix("model.layers.4.") for name in state if name.startswith("model.layers.4.")}
    assert {"eh_proj.weight", "enorm.weight", "hnorm.weight", "shared_head.norm.weight"} <= mtp
    assert {"self_attn.kv_b_proj.weight", "mlp.experts.0.gate_proj.weight", "mlp.gate.e_score_correction_bias"} <= mtp
    assert "embed_tokens.weight" not in mtp and "shared_head.head.weight" not in mtp
    again = lmlab.load(folder)
    hidden = model.hidden(IDS)
    assert torch.equal(again.mtp[0](hidden[:, :-1], IDS[:, 1:]), model.mtp[0](hidden[:, :-1], IDS[:, 1:]))
    # the released files carry copies of the embedding and the head in this layer
    copies = {
        "model.layers.4.embed_tokens.weight": state["model.embed_tokens.weight"].clone(),
        "model.layers.4.shared_head.head.weight": state["lm_head.weight"].clone(),
    }
    save_file(state | copies, folder / SINGLE)
    assert torch.equal(lmlab.load(folder)(IDS), model(IDS))


def test_half_an_mtp_module_is_an_error(deepseek):
    _, folder, state = deepseek
    del state["model.layers.4.eh_proj.weight"]
    save_file(state, folder / SINGLE)
    with pytest.raises(ValueError, match=r"missing: model.layers.4.eh_proj.weight \(128, 256\)"):
        lmlab.load(folder)


@torch.no_grad()
def test_mxfp4_as_gpt_oss_is_released(tmp_path):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    model = lmlab.build(lmlab.config("mini-gpt-oss"), dtype=torch.bfloat16).eval()
    hf.randomise(model)
    assert lmlab.save(model, tmp_path, quantization="mxfp4") == "gpt_oss"
    fields = json.loads((tmp_path / "config.json").read_text())
    assert fields["quantization_config"]["quant_method"] == "mxfp4"
    state = load_file(tmp_path / SINGLE)
    prefix = "model.layers.1.mlp.experts."
    assert state[prefix + "gate_up_proj_blocks"].shape == (8, 256, 4, 16)
    assert state[prefix + "gate_up_proj_scales"].shape == (8, 256, 4)
    # what transformers makes of these blocks, put into its own class, gives the same logits
    from transformers import GptOssConfig, GptOssForCausalLM

    del fields["quantization_config"]
    theirs = GptOssForCausalLM(GptOssConfig(**fields)).eval()  # float32: .to(bfloat16) would round its RoPE
    theirs.set_attn_implementation("eager")
    for name in [name for name in state if name.endswith("_blocks")]:
        stem = name.removesuffix("_blocks")
        state[stem] = convert_moe_packed_tensors(state.pop(name), state.pop(f"{stem}_scales"))
    theirs.load_state_dict(state)
    ours = lmlab.load(tmp_path)
    for theirs_layer, layer in zip(theirs.model.layers, ours.layers, strict=True):
        gate_up = theirs_layer.mlp.experts.gate_up_proj.mT  # (E, 2I, C), interleaved
        assert torch.equal(
            layer.mlp.experts.gate_up_proj.float(), torch.cat((gate_up[:, 0::2], gate_up[:, 1::2]), dim=1)
        )
        assert torch.equal(layer.mlp.experts.down_proj.float(), theirs_layer.mlp.experts.down_proj.mT)
    expected, got = hf.logits(theirs.float(), IDS), ours.float()(IDS)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fp8_as_deepseek_is_released(deepseek, tmp_path):
    model, _, plain = deepseek
    lmlab.save(model, tmp_path / "fp8", quantization="fp8")
    state = load_file(tmp_path / "fp8" / SINGLE)
    values = state["model.layers.1.mlp.experts.3.up_proj.weight"]
    assert values.dtype == torch.float8_e4m3fn
    scale = state["model.layers.1.mlp.experts.3.up_proj.weight_scale_inv"]
    expected = (values.float() * scale).bfloat16()
    ours = lmlab.load(tmp_path / "fp8", dtype=torch.bfloat16)
    assert torch.equal(ours.layers[1].mlp.experts.gate_up_proj[3, 128:], expected)
    untouched = ("embed_tokens", "lm_head", "norm", "mlp.gate.", "eh_proj")
    kept = {name for name, tensor in state.items() if tensor.dtype == torch.float32 and not name.endswith("_scale_inv")}
    assert kept == {name for name in plain if any(part in name for part in untouched)}
    for name, tensor in ours.state_dict().items():
        wanted = model.state_dict()[name]
        assert (tensor.float() - wanted).norm() < 0.04 * wanted.norm(), f"{name}: FP8 rounds, and no more"


def test_the_correction_bias_stays_float32(deepseek):
    _, folder, _ = deepseek
    model = lmlab.load(folder, dtype=torch.bfloat16)
    assert model.layers[1].mlp.router.e_score_correction_bias.dtype == torch.float32
    assert model.layers[1].mlp.router.weight.dtype == torch.bfloat16
    assert model.layers[0].self_attn.rope.inv_freq.dtype == torch.float32


def test_a_variant_that_no_class_of_transformers_has(tmp_path):
    from dataclasses import fields

    def dual(a):
        return DualChunkConfig(**{f.name: getattr(a, f.name) for f in fields(a)}, chunk_size=16, local_size=5)

    model = lmlab.build(lmlab.config("mini-qwen3").with_parts(attention=dual)).eval()
    assert lmlab.save(model, tmp_path) == "lmlab"
    again = lmlab.load(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(IDS), model(IDS))


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def broken(tmp_path):
    hf.random_model("gpt-oss").save_pretrained(tmp_path)
    return tmp_path, load_file(tmp_path / SINGLE)


def test_faults_of_tensors_are_all_named_at_once(broken):
    folder, state = broken
    del state["model.norm.weight"]
    state["model.layers.0.self_attn.sinks"] = torch.zeros(5)
    state["model.layers.7.something.weight"] = torch.zeros(2, 3)
    state["lm_head.weight"] = torch.zeros(97, 36, dtype=torch.int8)
    save_file(state, folder / SINGLE)
    with pytest.raises(ValueError, match="is no checkpoint of its config.json") as error:
        lmlab.load(folder)
    for fault in (
        "missing: model.norm.weight (36,)",
        "misshapen: model.layers.0.self_attn.sinks is (5,) and must be (6,)",
        "not expected: model.layers.7.something.weight (2, 3)",
        "number format: lm_head.weight is I8",
    ):
        assert fault in str(error.value)


def test_a_truncated_file_and_one_that_is_none(broken):
    folder, _ = broken
    whole = (folder / SINGLE).read_bytes()
    for content in (whole[:-100], b"not safetensors at all", b""):
        (folder / SINGLE).write_bytes(content)
        with pytest.raises(ValueError, match=r"truncated, or no safetensors file: model.safetensors"):
            lmlab.load(folder)


def test_an_index_that_lists_what_is_not_there(broken):
    folder, state = broken
    save_file(state, folder / "a.safetensors")
    (folder / SINGLE).unlink()
    listed = dict.fromkeys(state, "a.safetensors") | {"model.norm.weight": "b.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(ValueError, match=r"missing file: b.safetensors"):
        lmlab.load(folder)
    (folder / INDEX).write_text(
        json.dumps({"weight_map": listed | {"model.norm.weight": "a.safetensors", "x": "a.safetensors"}})
    )
    with pytest.raises(ValueError, match=r"lists x in a.safetensors, which does not hold it"):
        lmlab.load(folder)


def test_pickled_weights_are_refused_with_the_way_out(broken):
    folder, _ = broken
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="pytorch_model.bin is pickled and is not read: convert it"):
        lmlab.load(folder)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere/at/all", FileNotFoundError, "no folder, no miniature and no Hub id"),
        ("qwen3-8b", FileNotFoundError, "ships no weights of qwen3-8b; lmlab.build"),
    ],
)
def test_sources_that_are_not_there(source, error, message):
    with pytest.raises(error, match=message):
        lmlab.load(source)


def test_configs_that_are_not_there_or_not_json(broken):
    folder, _ = broken
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        lmlab.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="has no config.json"):
        lmlab.load(folder)


def test_a_failed_save_leaves_the_older_checkpoint_whole(deepseek, monkeypatch):
    model, folder, _ = deepseek
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("lmlab.files.save_file", full)
    with pytest.raises(OSError, match="no space left"):
        lmlab.save(model, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_saving_over_shards_leaves_none_of_them(deepseek):
    model, folder, _ = deepseek
    lmlab.save(model, folder, max_shard_bytes=300_000)
    assert not (folder / SINGLE).exists()
    lmlab.save(model, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", SINGLE]


def test_quantisation_belongs_to_its_family(deepseek, tmp_path):
    model, *_ = deepseek
    with pytest.raises(ValueError, match="'mxfp4' does not go with model_type 'deepseek_v3'"):
        lmlab.save(model, tmp_path, quantization="mxfp4")
    with pytest.raises(ValueError, match="'int4' does not go with"):
        lmlab.save(model, tmp_path, quantization="int4")


def test_a_vendors_inert_fields_are_written_back(broken, tmp_path):
    folder, _ = broken
    edit_config(
        folder, router_aux_loss_coef=0.9, eos_token_id=[1, 2], initial_context_length=4096, torch_dtype="float32"
    )
    lmlab.save(lmlab.load(folder), tmp_path / "again")
    fields = json.loads((tmp_path / "again" / "config.json").read_text())
    assert fields["router_aux_loss_coef"] == 0.9 and fields["eos_token_id"] == [1, 2]
    assert fields["initial_context_length"] == 4096 and fields["dtype"] == "float32" and "torch_dtype" not in fields


def test_dtype_can_be_chosen(written):
    _, folder = written
    assert lmlab.load(folder).norm.weight.dtype == torch.float32
    assert lmlab.load(folder, dtype=torch.bfloat16).norm.weight.dtype == torch.bfloat16


def test_shipped_weights_are_found_by_name(deepseek, monkeypatch, tmp_path):
    model, folder, _ = deepseek
    shipped = tmp_path / "data" / "checkpoints" / "mini-deepseek-v3"
    shutil.copytree(folder, shipped, ignore=shutil.ignore_patterns("data"))
    monkeypatch.setattr("lmlab.paths._PLACES", (tmp_path / "data",))
    assert torch.equal(lmlab.load("mini-deepseek-v3")(IDS), model(IDS))


def test_a_model_without_weights_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="meta device and has no weights"):
        lmlab.save(lmlab.build(lmlab.config("mini-qwen3"), device="meta"), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
