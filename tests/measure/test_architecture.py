"""The tree of a model holds what its modules hold and costs what the calculators say, at every level."""

from dataclasses import replace

import pytest
import torch

import lmlab
from lmlab.configuration import ModelConfig
from lmlab.families import PRESETS
from lmlab.measure import architecture, flops, memory, sizes
from lmlab.measure.anatomy import COUNTS, outputs
from lmlab.model import Block
from lmlab.parts.masks import timeline_of

PASSES = [(1, 0), (1, 4096), (300, 0)]


def nodes(root):
    return {node.path: node for node, _ in architecture.walk(root)}


@pytest.mark.parametrize("name", PRESETS)
def test_totals_are_those_of_the_calculators_and_of_the_modules(name):
    config = lmlab.config(name)
    for format in {"bf16", memory.released_format(config)}:
        for tokens, context in PASSES:
            root = architecture.tree(config, format, tokens, context)
            assert root.parameters == sizes.total(config, mtp=True)
            assert root.active == sizes.active(config, embedding=True)
            assert root.bytes == memory.weight_bytes(config, format, mtp=True)
            assert root.flops == flops.total(config, tokens, context)
    built = lmlab.build(config, device="meta")
    assert root.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert nodes(root).get("mtp", replace(root, parameters=0)).parameters == sizes.count_mtp(config)


@pytest.mark.parametrize("name", ["gpt-oss-120b", "qwen3-0.6b", "deepseek-v3", "deepseek-v2-lite"])
def test_each_component_is_the_sum_of_its_parts(name):
    config = lmlab.config(name)
    root, counted = architecture.tree(config, tokens=7), sizes.count(config)
    costs, found = flops.flops(config, 7)["flops"], dict.fromkeys(("router", "experts", "attention"), 0)
    work = dict.fromkeys(("router", "experts", "scores"), 0)
    for node, times in architecture.walk(root):
        last = node.path.rpartition(".")[2]
        if node.path.startswith("mtp"):
            continue
        if last in found or last == "self_attn":
            found["attention" if last == "self_attn" else last] += times * node.parameters
        if last in work or last == "core":
            work["scores" if last == "core" else last] += times * node.flops
    assert found == {name: int(counted["total"].get(name, 0)) for name in found}
    assert work == {name: int(costs.get(name, 0)) for name in work}


@pytest.mark.parametrize("name", ["gpt-oss-20b", "qwen3-30b-a3b", "deepseek-v3"])
def test_a_parent_is_its_copies_times_its_children(name):
    for node, _ in architecture.walk(architecture.tree(lmlab.config(name), tokens=3)):
        if node.children:
            for count in COUNTS:
                assert getattr(node, count) == node.copies * sum(getattr(child, count) for child in node.children)


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_of_the_module_is_a_leaf_of_its_shape(name):
    config = lmlab.config(name)
    found = nodes(architecture.tree(config))
    assert len(found) == len(list(architecture.walk(architecture.tree(config)))), "each path is one node's"
    with torch.device("meta"):
        block = Block(config.blocks[-1], config.hidden_size)
    for key, value in block.state_dict().items():
        path = f"block.{key}"
        leaf = found.get(path) or found[path.rpartition(".")[0]]
        if path in found or not key.endswith("bias"):
            assert leaf.weight == tuple(value.shape) and not leaf.children
        else:
            assert leaf.settings["bias"] and leaf.parameters == leaf.weight[0] * (leaf.weight[1] + 1)


def test_layers_are_folded():
    found = nodes(architecture.tree(lmlab.config("gpt-oss-120b")))
    assert (found["repeat"].copies, found["repeat"].settings["layers"]) == (18, "0 to 35")
    assert found["block 1"].title == "block, window 128" and found["block 1"].settings["layers"] == "0, 2, ... 34"
    assert found["block"].title == "block, full attention" and found["block"].settings["layers"] == "1, 3, ... 35"
    assert found["block.mlp.experts"].title == "experts x 128, 4 active"
    found = nodes(architecture.tree(lmlab.config("deepseek-v3")))
    assert (found["block 1"].copies, found["block 1"].title) == (3, "block, dense MLP")
    assert (found["block"].copies, found["block"].settings["layers"]) == (58, "3 to 60")
    found = nodes(architecture.tree(lmlab.config("qwen3-235b-a22b")))
    assert (found["block"].copies, found["block"].title) == (94, "block")
    assert "repeat" not in found and "block 1" not in found


@pytest.mark.parametrize(
    ("pattern", "runs"),
    [
        ("a", [(0, "a", 1)]),
        ("aaaa", [(0, "a", 4)]),
        ("abab", [(0, "ab", 2)]),
        ("aaabbbbb", [(0, "a", 3), (3, "b", 5)]),
        ("ababa", [(0, "ab", 2), (4, "a", 1)]),
        ("aabaabaab", [(0, "aab", 3)]),
        ("abc", [(0, "a", 1), (1, "b", 1), (2, "c", 1)]),
        ("aaabaaaa", [(0, "a", 3), (3, "b", 1), (4, "a", 4)]),
    ],
)
def test_the_pattern_that_covers_most_layers_is_folded(pattern, runs):
    assert [(start, "".join(run), n) for start, run, n in architecture.fold(tuple(pattern))] == runs


def with_layers(pattern: str) -> ModelConfig:
    """s: sliding, f: full."""
    config = lmlab.config("mini-gpt-oss")
    kinds = dict(zip("sf", config.blocks[:2], strict=True))
    return replace(config, blocks=tuple(kinds[one] for one in pattern))


@pytest.mark.parametrize("pattern", ["sssfsssf", "sfffs", "fsfffsff", "ssssfssssfss"])
def test_any_pattern_keeps_its_totals_and_its_paths_apart(pattern):
    config = with_layers(pattern)
    root = architecture.tree(config, tokens=5)
    paths = [node.path for node, _ in architecture.walk(root)]
    assert len(set(paths)) == len(paths)
    assert (root.parameters, root.flops) == (sizes.total(config), flops.total(config, 5))
    layers = sum(times * node.copies for node, times in architecture.walk(root) if node.thing is Block)
    assert layers == len(pattern)


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-qwen3-moe", "mini-deepseek-v3"])
def test_shapes_of_outputs_are_those_of_a_forward_pass(name):
    config = lmlab.config(name)
    block, hidden, rows, tokens = config.blocks[-1], config.hidden_size, 5, 7
    with torch.device("meta"):
        module, seen = Block(block, hidden).to("meta"), {}
    for key, part in module.named_modules():
        part.register_forward_hook(lambda _, __, out, key=key: seen.setdefault(key, out))
    x = torch.empty(rows, tokens, hidden, device="meta")
    module(x, timeline_of(x))
    letters = {"B": rows, "T": tokens, "N": rows * tokens}
    shapes = {key: tuple(letters.get(one, one) for one in shape) for key, shape in outputs(block, hidden).items()}
    assert shapes.keys() == seen.keys() and "self_attn.core" in shapes
    for key, out in seen.items():
        wanted = out.weights if hasattr(out, "weights") else out[0] if isinstance(out, tuple) else out
        assert shapes[key] == tuple(wanted.shape), key


def test_an_experts_matrix_gives_one_row_for_each_chosen_expert():
    config = lmlab.config("mini-deepseek-v3")
    found = nodes(architecture.tree(config))
    node = found["block.mlp.experts.gate_up_proj"]
    x, chosen = torch.empty(6, config.hidden_size), torch.zeros(6, 2, dtype=torch.long)
    out = torch.empty(node.weight)[chosen] @ x[:, None, :, None]
    assert ("N", *out.shape[1:3]) == node.output == ("N", 2, 256)
    assert found["block.mlp.router.weight"].output == ("N", 8)


def test_a_table_counts_all_copies():
    config = lmlab.config("deepseek-v3")
    table = architecture.table(architecture.tree(config))
    assert table.loc["block.mlp.experts", "parameters"] == sizes.count(config).loc["experts", "total"]
    assert table.loc["block.mlp.experts.down_proj", ["copies", "in_model"]].tolist() == [1, 58]
    assert table.loc["block.mlp.experts.down_proj", "parent"] == "block.mlp.experts"
    assert table.loc["model", "parent"] == "" and table.loc["mtp", "parent"] == "model"


def test_compared_parts_say_what_another_lacks():
    names = ["gpt-oss-120b", "qwen3-235b-a22b", "deepseek-v3"]
    marks = architecture.compare({name: architecture.tree(lmlab.config(name)) for name in names})
    gpt, qwen, deepseek = (marks[name] for name in names)
    assert gpt["block.self_attn.sinks"] == gpt["repeat"] == qwen["block.self_attn.q_norm"] == "only"
    assert deepseek["block.self_attn.kv_b_proj"] == deepseek["block.mlp.shared_experts"] == deepseek["mtp"] == "only"
    assert gpt["block.self_attn.q_proj"] == "only", "DeepSeek has none of this name"
    assert {marks[name]["embed_tokens"] for name in names} == {"other"}
    assert deepseek["block 1.self_attn.o_proj"] == gpt["block 1.mlp"] == "other", "any layer's are compared"
    sizes_apart = {name: architecture.tree(lmlab.config(name)) for name in ("gpt-oss-20b", "gpt-oss-120b")}
    marks = architecture.compare(sizes_apart)["gpt-oss-120b"]
    assert marks["block.self_attn"] == marks["embed_tokens"] == marks["lm_head"] == "same"
    assert marks["repeat"] == marks["block.mlp.experts.down_proj"] == marks["block"] == "other"
    one = architecture.compare({"a": sizes_apart["gpt-oss-20b"], "b": sizes_apart["gpt-oss-20b"]})
    assert set(one["a"].values()) == {"same"}


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'int4' is not one of bf16, mxfp4, fp8"):
        architecture.tree(lmlab.config("mini-qwen3"), "int4")
