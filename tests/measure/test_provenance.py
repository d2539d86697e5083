"""Behind each part stand the lines that make it, and facts that are rows of facts.csv."""

import pytest

import lmlab
from lmlab import facts
from lmlab.families import PRESETS
from lmlab.measure import architecture, provenance
from tests.repository import ROOT

FULL_SCALE = [name for name in PRESETS if not name.startswith("mini-")]


def every(root, parent=None):
    yield root, parent
    for child in root.children:
        yield from every(child, root)


@pytest.mark.parametrize("name", ["gpt-oss-20b", "qwen3-8b", "qwen3-30b-a3b", "deepseek-v3", "deepseek-v2-lite"])
def test_every_part_has_its_lines_of_code(name):
    for node, parent in every(architecture.tree(lmlab.config(name))):
        place, code = provenance.source(node, parent)
        file, _, lines = place.partition(", line")
        first = int(lines.removeprefix("s").split()[0])
        written = (ROOT / file).read_text(encoding="utf-8").splitlines()
        assert written[first - 1 : first - 1 + code.count("\n") + 1] == code.splitlines(), node.path
        last = node.path.rpartition(".")[2]
        own = node.thing is not None and node.thing.__module__.startswith("lmlab.")
        wanted = {"repeat": "self.layers"}.get(last, node.thing.__name__ if own else last)
        assert wanted in code, node.path


def test_the_lines_are_those_one_looks_for():
    found = {n.path: (n, p) for n, p in every(architecture.tree(lmlab.config("gpt-oss-20b")))}
    code = provenance.source(*found["block.self_attn"])[1]
    assert code.startswith("class GroupedQueryAttention(nn.Module):")
    place, code = provenance.source(*found["block.self_attn.sinks"])
    assert place.startswith("lmlab/parts/gqa.py, line ") and code.strip().startswith("self.sinks = nn.Parameter")
    place, code = provenance.source(*found["block.mlp.router.bias"])
    assert place.startswith("lmlab/parts/router.py, line ") and "self.bias = nn.Parameter" in code


@pytest.mark.parametrize("name", FULL_SCALE)
def test_facts_are_rows_of_the_table(name):
    rows = {tuple(row) for row in facts.table().itertuples(index=False)}
    without = []
    for node, _ in every(architecture.tree(lmlab.config(name))):
        found = provenance.vendor_facts(name, node.path)
        assert {tuple(row.values()) for row in found} <= rows, node.path
        assert len({row["field"] for row in found}) == len(found)
        if not found:
            without.append(node.path)
    assert not without, "a vendor's number stands behind every part"


def test_facts_are_those_that_a_part_follows_from():
    def fields(model, path):
        return {row["field"]: row["value"] for row in provenance.vendor_facts(model, path)}

    assert fields("deepseek-v3", "block.self_attn.kv_a_layernorm") == {"kv_lora_rank": "512"}
    assert fields("gpt-oss-120b", "block 1.mlp.experts.down_proj")["intermediate_size"] == "2880"
    assert "intermediate_size" not in fields("qwen3-235b-a22b", "block.mlp.experts"), "no layer of it is dense"
    assert fields("qwen3-8b", "block.mlp.up_proj")["intermediate_size"] == "12288"
    assert fields("gpt-oss-20b", "block.self_attn.sinks")["attention_sinks"].startswith("learned bias")
    assert fields("mini-qwen3", "block.self_attn") == {}
    for part, norm in (("block.input_layernorm", "rms_norm_eps"), ("norm", "rms_norm_eps")):
        assert norm in fields("deepseek-v3", part)
