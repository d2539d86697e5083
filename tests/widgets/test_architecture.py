"""The architecture view says what measure says of every part, after any move; a bad config.json is refused by name."""

import json
import random
from itertools import pairwise

import pytest

import lmlab
from lmlab import facts
from lmlab.families import PRESETS, from_hf
from lmlab.measure import architecture, flops, memory, sizes
from lmlab.widgets.architecture import DRAW, MODELS, NONE, START, ArchitectureView
from lmlab.widgets.pasted import NAME, pasted

OWN = dict(PRESETS["qwen3-8b"]) | {"num_hidden_layers": 7}
TEXTS = ["", json.dumps(OWN), "no JSON", json.dumps(dict(PRESETS["mini-deepseek-v3"])), json.dumps({"model_type": "x"})]


def shown(state):
    """name -> configuration of the columns that the state asks for."""
    names = dict.fromkeys([state["a"], *(state[one] for one in "bc" if state[one] != NONE)])
    return {n: from_hf(json.loads(state["config"]), n) if n == NAME else lmlab.config(n) for n in names}


def short(n):
    size, unit = next(((s, u) for s, u in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")) if n >= s), (1, ""))
    return f"{n / size:.4g} {unit}" if unit else f"{n:.3g}"


def check(view):
    state = view.state
    configs, data = shown(state), view.data
    tokens, context = (1, state["length"]) if state["step"] == "writing one token" else (state["length"], 0)
    formats = {n: memory.released_format(c) if state["bytes"] == "as released" else "bf16" for n, c in configs.items()}
    trees = {n: architecture.tree(c, formats[n], tokens, context) for n, c in configs.items()}
    assert [column["name"] for column in data["columns"]] == list(configs)
    marks = architecture.compare(trees) if len(trees) > 1 else {}
    for column, (name, config) in zip(data["columns"], configs.items(), strict=True):
        assert column["parameters"] == sizes.total(config, mtp=True)
        assert f"{name}: {config.num_hidden_layers:,} layers, {short(sizes.total(config))} parameters" in view.summary
        if sizes.active(config) < sizes.total(config):
            assert f"{short(sizes.active(config))} of them active for one token" in view.summary
        table = architecture.table(trees[name])
        for node, (path, row) in zip(column["nodes"], table.iterrows(), strict=True):
            assert (node["id"], node["parent"]) == (f"{name}:{path}", row["parent"])
            assert node["mark"] == marks.get(name, {}).get(path, "same")
            cells = dict(node["cells"])
            assert cells.get("parameters, all copies", "0") == f"{row['parameters']:,}"
            assert cells.get("active for one token", "0") == f"{row['active']:,}"
            assert cells["copies in the model"] == f"{row['in_model']:,}"
            letters = {"B": state["batch"], "T": tokens, "N": state["batch"] * tokens}
            for kind in ("weight", "output"):
                shape = " x ".join(f"{letters.get(one, one):,}" for one in row[kind] or ())
                assert cells.get(kind, "") == shape
            if node["area"]:
                assert node["area"][2] * node["area"][3] == pytest.approx(row["parameters"] / column["parameters"])
            assert bool(node["area"]) == (row["parameters"] > 0)
            assert node["active"] == pytest.approx(row["active"] / max(row["parameters"], 1))
        whole = dict(column["nodes"][0]["cells"])
        held = memory.weight_bytes(config, formats[name], mtp=True)
        said, unit = whole["bytes, all copies"].split(", ")[0].split()
        assert float(said) * {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}[unit] == pytest.approx(held, rel=5e-4)
        said, unit = whole["work for a token"].split()
        each = flops.total(config, tokens, context) / tokens
        assert float(said) * {"TFLOP": 1e12, "GFLOP": 1e9, "MFLOP": 1e6}[unit] == pytest.approx(each, rel=5e-4)
    name, _, path = state["node"].partition(":")
    row = architecture.table(trees[name]).loc[path]
    if row["parameters"]:
        assert f"{short(row['parameters'])} parameters" in view.summary
    assert node_of(view)["words"] in view.summary
    nodes = next(spec for spec in view.controls if spec["name"] == "node")
    assert state["node"] in nodes["values"] and len(nodes["values"]) == len(nodes["labels"])


def node_of(view):
    nodes = {node["id"]: node for column in view.data["columns"] for node in column["nodes"]}
    return nodes[view.state["node"]]


def toggled(view):
    path = node_of(view)["path"]
    before = view.state["open"]
    return {"open": [one for one in before if one != path] if path in before else [*before, path]}


def test_it_opens_on_gpt_oss():
    view = ArchitectureView()
    check(view)
    assert view.summary.startswith(
        "gpt-oss-120b: 36 layers, 116.8 B parameters, 5.133 B of them active for one token, and 98% of all are experts."
        " In gpt-oss-120b, experts x 128, 4 active in mlp of layers 1, 3, ... 35: 18 copies of 3.186 B make 57.35 B"
    )
    assert sum(not spec["more"] and spec["kind"] != "marks" for spec in view.controls) == 4


def test_after_every_seeded_move_the_view_says_what_measure_says():
    rng, view, summaries, refused = random.Random(0), ArchitectureView(), [], 0
    for _ in range(90):
        spec = rng.choice(view.controls)
        change = {spec["name"]: rng.choice(spec["values"] or TEXTS)}
        view.state = view.state | (toggled(view) if rng.random() < 0.3 else change)
        summaries.append(view.summary)
        if view.problem:
            refused += 1
            assert view.problem.startswith(("nothing is pasted", "what was pasted is not", "model_type 'x' is"))
            assert node_of(view)["words"] in view.summary, "what is shown can still be moved in"
        else:
            check(view)
    assert refused and sum(a != b for a, b in pairwise(summaries)) > 30


def test_a_part_that_is_folded_away_gives_the_choice_to_what_holds_it():
    view = ArchitectureView()
    view.state = view.state | {"open": ["model", "repeat", "block"]}
    assert view.state["node"] == "gpt-oss-120b:block.mlp"
    view.state = view.state | {"a": "deepseek-v3"}
    assert view.state["node"] == "deepseek-v3:block.mlp", "the same part of another model"
    view.state = view.state | {"open": []}
    assert view.state["node"] == "deepseek-v3:model" == view.controls[4]["values"][0]


def test_data_are_sent_once_for_all_parts():
    view, sent = ArchitectureView(), []
    view.observe(lambda change: sent.append(change["name"]), ["data", "summary"])
    view.state = view.state | {"node": "gpt-oss-120b:norm"}
    view.state = view.state | {"open": ["model"]}
    view.state = view.state | {"draw": DRAW[1]}
    assert "data" not in sent, "the page holds what it needs"


def test_facts_and_source_are_those_of_the_part():
    view = ArchitectureView(a="deepseek-v3", open=["model", "block", "block.self_attn"])
    view.state = view.state | {"node": "deepseek-v3:block.self_attn.kv_a_proj_with_mqa"}
    node = node_of(view)
    assert node["place"].startswith("lmlab/parts/mla.py, line ")
    assert view.data["codes"][node["place"]].strip().startswith("self.kv_a_proj_with_mqa = nn.Linear")
    told = [view.data["facts"][key] for key in node["facts"]]
    source = facts.citation("deepseek-v3", "kv_lora_rank")
    assert f"kv_lora_rank: 512 ({source}; vendor_code)" in told
    assert not node_of(ArchitectureView(a="mini-qwen3"))["facts"], "no vendor released it"


def test_a_pasted_file_is_shown_and_can_be_taken_away():
    view = ArchitectureView()
    view.state = view.state | {"config": json.dumps(OWN, indent=2)}
    assert view.state["a"] == NAME and view.summary.startswith(f"{NAME}: 7 layers")
    check(view)
    view.state = view.state | {"b": "qwen3-8b"}
    check(view)
    marks = {node["path"]: node["mark"] for node in view.data["columns"][0]["nodes"]}
    assert (marks["block.mlp"], marks["block"], marks["embed_tokens"]) == ("same", "other", "same")
    view.state = view.state | {"config": json.dumps(OWN | {"slidng_window": 3})}
    assert "unknown field slidng_window is kept but changes nothing; did you mean sliding_window?" in view.summary
    view.state = view.state | {"config": ""}
    assert view.state["a"] == START["a"] and not view.problem
    assert ArchitectureView(config=json.dumps(OWN)).state["a"] == NAME


DEEPSEEK = dict(PRESETS["deepseek-v3"])


@pytest.mark.parametrize(
    ("fields", "changed", "says"),
    [
        (OWN, {"hidden_size": None}, "missing hidden_size"),
        (OWN, {"hidden_size": None, "hiden_size": 4096}, "(hiden_size looks like hidden_size misspelt)"),
        (OWN, {"model_type": "llama"}, "model_type 'llama' is not one of gpt_oss, qwen3"),
        (OWN, {"num_key_value_heads": 7}, "num_attention_heads=32 must be a multiple of num_key_value_heads=7"),
        (OWN, {"layer_types": ["full_attention"] * 6}, "layer_types has 6 entries for num_hidden_layers=7"),
        (OWN, {"head_dim": 127}, "head_dim=127 must be even"),
        (OWN, {"hidden_size": 10**9}, "hidden_size=1,000,000,000 is too large: this view reads up to 1,000,000"),
        (OWN, {"num_hidden_layers": 10**8}, "num_hidden_layers=100,000,000 is too large: this view reads up to 1,000"),
        (OWN, {"hidden_size": "4096"}, "hidden_size='4096' must be a whole number"),
        (OWN, {"hidden_size": -4}, "hidden_size=-4 must be a whole number, 1 or more"),
        (OWN, {"rms_norm_eps": "1e-6"}, "rms_norm_eps='1e-6' must be a number"),
        (OWN, {"rope_theta": True}, "rope_theta=True must be a number"),
        (OWN, {"rope_scaling": "yarn"}, "rope_scaling='yarn' must be an object in braces"),
        (OWN, {"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling of type yarn: missing factor"),
        (OWN, {"tie_word_embeddings": "no"}, "tie_word_embeddings='no' must be true or false"),
        (OWN, {"hidden_act": "gelu"}, "hidden_act='gelu' is not supported"),
        (DEEPSEEK, {"num_experts_per_tok": 300}, "num_experts_per_tok=300 must lie from 1 to num_experts=256"),
        (DEEPSEEK, {"n_group": 7}, "num_experts=256 must be a multiple of n_group=7"),
        (DEEPSEEK, {"num_nextn_predict_layers": 500}, "num_nextn_predict_layers=500 is too large"),
        (DEEPSEEK, {"quantization_config": {"quant_method": "awq"}}, "quantization_config.quant_method='awq'"),
        (DEEPSEEK, {"n_routed_experts": 10**6}, "n_routed_experts=1,000,000 is too large"),
    ],
)
def test_a_bad_field_is_named_and_the_view_goes_on(fields, changed, says):
    view = ArchitectureView()
    before = view.data
    text = json.dumps({key: value for key, value in (fields | changed).items() if value is not None})
    view.state = view.state | {"config": text}
    assert says in view.problem and view.data == before
    view.state = view.state | {"node": "gpt-oss-120b:norm"}
    assert view.problem and "norm" in view.summary and view.state["node"] == "gpt-oss-120b:norm"
    view.state = view.state | {"a": "mini-qwen3"}
    assert not view.problem
    check(view)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "one object in braces; what was pasted is list"),
        ('{"model_type": "qwen3", "hidden_size": 1, "hidden_size": 2}', "hidden_size is there twice: 1 and 2"),
        ('{"num_experts": 8, "num_local_experts": 9}', "num_experts=8 and num_local_experts=9 are two names"),
        ('{"model_type": "lmlab"}', "a field that cannot be read: 'lmlab'"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_config_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        pasted(text)


@pytest.mark.parametrize("fields", [OWN, DEEPSEEK, dict(PRESETS["gpt-oss-20b"])], ids=["qwen3", "deepseek", "gpt-oss"])
def test_the_largest_that_is_read_is_shown(fields):
    sizes_of = {
        key: 10**6
        for key in fields
        if key.endswith(("hidden_size", "intermediate_size", "head_dim", "_rank", "_heads"))
    }
    view = ArchitectureView(config=json.dumps(fields | sizes_of | {"vocab_size": 10**7}))
    assert not view.problem and view.summary.startswith(NAME)


def test_values_that_no_control_has_are_refused():
    with pytest.raises(ValueError, match="a='gpt2' is not one of gpt-oss-20b"):
        ArchitectureView(a="gpt2")
    with pytest.raises(ValueError, match="node='deepseek-v3:block' is not one of gpt-oss-120b:model"):
        ArchitectureView(node="deepseek-v3:block")
    assert set(MODELS) == set(PRESETS)
