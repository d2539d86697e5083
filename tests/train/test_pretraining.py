"""Training learns, goes on exactly where it stopped, and is the same over several processes."""

import dataclasses
import itertools
import os

import pytest
import torch

import lmlab
from lmlab.families import MINIATURES
from lmlab.parts.balancing import expert_counts
from lmlab.text.corpus import documents
from lmlab.text.tokenizer import train
from lmlab.train import state
from lmlab.train.__main__ import keep
from lmlab.train.objective import Objective
from lmlab.train.optimizers import build, init_for_training
from lmlab.train.pretraining import pretrain, read_records
from lmlab.train.recipe import Recipe

TOKENIZER = train((document.text for document in itertools.islice(documents("general", 0), 1000)), 512)
SMALL = Recipe(tokens=8 * 4 * 64, batch_size=4, length=64)


def fresh(name="mini-deepseek-v3"):
    model = lmlab.build(lmlab.config(name))
    init_for_training(model, torch.Generator().manual_seed(0))
    return model


def losses(records):
    return [record.loss for record in records]


@pytest.mark.parametrize("name", MINIATURES)
def test_it_learns(name):
    recipe = Recipe(tokens=30 * 8 * 64, batch_size=8, length=64)
    records = list(pretrain(fresh(name), TOKENIZER, recipe, evaluate_every=15, evaluate_on=8))
    assert [record.step for record in records] == [*range(1, 31)] and records[-1].tokens == recipe.tokens
    assert records[-1].loss < records[0].loss - 2
    assert [record.step for record in records if record.distance] == [15, 30]
    assert records[-1].distance["all"] < records[14].distance["all"]
    assert (records[-1].load is None) == (name == "mini-qwen3") and (records[-1].mtp is not None) == ("deep" in name)


def test_it_goes_on_exactly_where_it_stopped(tmp_path):
    whole = list(pretrain(fresh(), TOKENIZER, SMALL, evaluate_on=0))
    list(itertools.islice(pretrain(fresh(), TOKENIZER, SMALL, folder=tmp_path, evaluate_on=0, save_every=3), 5))
    rest = list(pretrain(fresh("mini-deepseek-v3"), TOKENIZER, SMALL, folder=tmp_path, evaluate_on=0))
    assert [record.step for record in rest] == [4, 5, 6, 7, 8]
    assert losses(rest) == losses(whole)[3:]


def test_another_recipe_is_refused(tmp_path):
    list(itertools.islice(pretrain(fresh(), TOKENIZER, SMALL, folder=tmp_path, evaluate_on=0, save_every=1), 1))
    other = Recipe(tokens=SMALL.tokens, batch_size=4, length=64, seed=1)
    with pytest.raises(ValueError, match=r"belongs to another recipe: seed=1 \(there: 0\)"):
        next(pretrain(fresh(), TOKENIZER, other, folder=tmp_path, evaluate_on=0))


def test_a_broken_state_is_named(tmp_path):
    (tmp_path / state.FILE).write_bytes(b"nothing of use")
    with pytest.raises(ValueError, match="cannot be read"):
        next(pretrain(fresh(), TOKENIZER, SMALL, folder=tmp_path, evaluate_on=0))


def test_a_full_disk_is_named_and_leaves_the_last_good_state(tmp_path, monkeypatch):
    model = fresh("mini-qwen3")
    optimizers = build(model, SMALL)
    state.save(tmp_path, 3, model, optimizers, SMALL)

    def full(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(state, "save_file", full)
    with pytest.raises(OSError, match=r"state after step 4 .*No space left.*the last good one is still there"):
        state.save(tmp_path, 4, model, optimizers, SMALL)
    monkeypatch.undo()
    assert state.load(tmp_path, model, optimizers, SMALL) == 3
    assert [path.name for path in tmp_path.iterdir()] == [state.FILE]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    records = pretrain(fresh(), TOKENIZER, SMALL, folder=tmp_path / "file" / "run", evaluate_on=0, save_every=1)
    with pytest.raises(OSError, match=r"step 1 could not be written to .*file.run.*none was written before"):
        next(records)


def test_stopping_leaves_the_model_without_hooks():
    model = fresh()
    records = pretrain(model, TOKENIZER, SMALL, evaluate_on=0)
    next(records)
    records.close()
    assert not any(module._forward_hooks for module in model.modules())


def test_biases_move_against_the_load():
    model = fresh()
    objective = Objective(model, SMALL, TOKENIZER)
    ids = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(0))
    objective(ids, ids)
    (router, routing), *_ = objective.routed
    counts = expert_counts(routing.indices, 8)
    objective.balance(0.5)
    expected = 0.5 * SMALL.bias_rate * torch.sign(counts.mean() - counts)
    torch.testing.assert_close(router.e_score_correction_bias, expected)


def row(*documents, width):
    """Documents as a row of training: the end token before each, padding behind the last."""
    ids = [token for document in documents for token in (TOKENIZER.end, *document)]
    return torch.tensor([ids + [TOKENIZER.pad] * (width - len(ids))])


@pytest.mark.parametrize("name", MINIATURES)
def test_a_document_knows_nothing_of_the_one_before_it(name):
    model, seen = fresh(name), []
    objective = Objective(model, SMALL, TOKENIZER)
    heads = [model.lm_head.register_forward_hook(lambda module, inputs, out: seen.append(out.detach()))]
    for first in ([70, 71, 72, 73, 74], [170, 171, 172, 173, 174]):
        objective(row(first, [80, 81, 82, 83, 84, 85], width=16), torch.zeros(1, 16, dtype=torch.long))
    for head in heads:
        head.remove()
    own, drafts = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    for before, after in zip(own, drafts, strict=True):  # the model's own logits, and those of MTP where there is one
        torch.testing.assert_close(before[:, 6:13], after[:, 6:13], atol=2e-4, rtol=0)
        assert not torch.allclose(before[:, 1:4], after[:, 1:4], atol=1e-2)


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-deepseek-v3"])
def test_padding_reaches_no_router(name):
    model = fresh(name)
    objective = Objective(model, SMALL, TOKENIZER)
    document = [*range(80, 90)]
    targets = torch.tensor([[*document, TOKENIZER.end]])
    found = []
    for width in (11, 40):
        padded = torch.nn.functional.pad(targets, (0, width - 11), value=-100)
        losses = objective(row(document, width=width), padded)
        found.append((losses.total.detach(), losses.loads, [len(routing.indices) for _, routing in objective.routed]))
    torch.testing.assert_close(found[0][:2], found[1][:2])
    assert found[0][2] == found[1][2] and set(found[0][2]) <= {10, 11}


def test_the_start_for_training_leaves_norms_biases_and_sinks():
    model = lmlab.build(lmlab.config("mini-gpt-oss"))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    init_for_training(model, torch.Generator().manual_seed(0))
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert same == {name for name in before if name.endswith(("norm.weight", "bias", "sinks"))}


def test_the_gate_stays_float32_under_autocast():
    model = fresh()
    objective = Objective(model, SMALL, TOKENIZER)
    ids = row([*range(80, 90)], width=11)
    with torch.autocast("cpu", torch.bfloat16):
        objective(ids, ids)
    assert {routing.logits.dtype for _, routing in objective.routed} == {torch.float32}


@pytest.mark.parametrize("name", MINIATURES)
def test_bf16_has_nearly_the_losses_of_float32(name):
    recipe = Recipe(tokens=6 * 4 * 64, batch_size=4, length=64)
    exact = losses(pretrain(fresh(name), TOKENIZER, recipe, evaluate_on=0))
    rounded = losses(pretrain(fresh(name), TOKENIZER, dataclasses.replace(recipe, bf16=True), evaluate_on=0))
    assert rounded == pytest.approx(exact, rel=0.02) and rounded != exact


def test_records_survive_a_line_that_was_never_finished(tmp_path):
    first, second = itertools.islice(pretrain(fresh("mini-qwen3"), TOKENIZER, SMALL, evaluate_on=0), 2)
    path = tmp_path / "records.jsonl"
    keep(first, path)
    path.write_bytes(path.read_bytes() + b'{"step": 2, "los')
    keep(second, path)
    assert read_records(path) == [first, second]


def test_norms_and_biases_do_not_decay_and_muon_has_the_matrices():
    model = fresh("mini-gpt-oss")
    adamw, muon = build(model, SMALL)
    decaying, others = adamw.param_groups
    names = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}
    first, second = ({names[parameter.data_ptr()] for parameter in group["params"]} for group in (decaying, others))
    assert first == {"embed_tokens.weight", "lm_head.weight", *(f"layers.{i}.mlp.router.weight" for i in range(4))}
    assert all(name.endswith(("norm.weight", "bias", "sinks")) for name in second) and others["weight_decay"] == 0
    matrices = muon.param_groups[0]["params"]
    in_muon = {names[matrix.data_ptr()] for matrix in matrices if matrix.data_ptr() in names}
    assert {"layers.0.self_attn.q_proj.weight", "layers.3.mlp.experts.down_proj"} <= in_muon
    assert {*names.values()} == first | second | in_muon and not (first | second) & in_muon
    assert sum(matrix.numel() for group in (decaying, others, muon.param_groups[0]) for matrix in group["params"]) == (
        sum(parameter.numel() for parameter in model.parameters())
    )


def test_muon_steps_each_expert_as_a_matrix_of_its_own():
    recipe = Recipe(tokens=10**6, muon_learning_rate=0.02, weight_decay=0.1)
    model = fresh("mini-gpt-oss")
    _, muon = build(model, recipe)
    stack = model.layers[1].mlp.experts.down_proj
    alone = stack[5].detach().clone().requires_grad_()
    reference = torch.optim.Muon([alone], lr=0.02, weight_decay=0.1)
    for seed in (1, 2):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        alone.grad = stack.grad[5].clone()
        muon.step()
        reference.step()
        torch.testing.assert_close(stack[5], alone)
        assert stack.grad is None, "else the next gradient would be added to this one"


def test_the_rate_rises_stays_and_falls():
    recipe = Recipe(tokens=100 * 4096, warmup_ratio=0.1, decay_ratio=0.4)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates[:2] == pytest.approx([1 / 11, 2 / 11]) and rates[10:60] == [1.0] * 50
    assert all(a > b > 0 for a, b in itertools.pairwise(rates[60:])) and rates[-1] < 0.03


@pytest.mark.parametrize(
    ("fields", "says"), [({"tokens": 10}, "need 4096"), ({"warmup_ratio": 0.7}, "together more than 1")]
)
def test_recipes_that_cannot_be_followed(fields, says):
    with pytest.raises(ValueError, match=says):
        Recipe(**({"tokens": 10**6} | fields))
