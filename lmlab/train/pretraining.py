"""Pretraining as a generator of records, one a step. It runs alone, or unchanged under torchrun.

    model = lmlab.build(config)
    for record in pretrain(model, tokenizer, Recipe(tokens=2_000_000)):
        print(record.step, record.loss)

Stop by leaving the loop. With a folder, the state is kept there, and a later run with the same recipe goes on exactly
where the last one was.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from lmlab.model import LanguageModel
from lmlab.text.tokenizer import Tokenizer
from lmlab.train import state
from lmlab.train.data import IGNORED, HeldOut, batches, held_out
from lmlab.train.objective import Losses, Objective
from lmlab.train.optimizers import build, set_rate
from lmlab.train.recipe import Recipe


@dataclass(frozen=True)
class Record:
    """After one step. Losses in nats per token; `distance` (every `evaluate_every` steps): how far held-out texts lie
    above their floor, by domain and over "all"; `loads`: each expert's load in the step's batch, 1 when even, in each
    layer that has experts, those of MTP last; `load`: the largest of them, the busiest expert's in the worst layer."""

    step: int
    steps: int
    tokens: int
    loss: float
    mtp: float | None
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    load: float | None
    distance: dict[str, float] | None
    loads: list[list[float]] | None = None


def pretrain(
    model: LanguageModel,
    tokenizer: Tokenizer,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    evaluate_every: int = 250,
    evaluate_on: int = 400,
    evaluate_mixture: str | None = None,
    save_every: int = 250,
    shard: bool = False,
) -> Iterator[Record]:
    """Train in place. The distance is measured on `evaluate_on` held-out texts of `evaluate_mixture` (the recipe's
    first one unless given). `shard`: FSDP2 in place of DDP, where torch.distributed runs (AdamW only, no folder and no
    distance: a shard is neither a state to go on from nor a model to try).

    ValueError for a recipe that cannot be followed; OSError when the state cannot be written.
    """
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if recipe.batch_size % ranks:
        raise ValueError(f"batch_size={recipe.batch_size} is not a multiple of the {ranks} processes")
    if shard and (folder or recipe.muon_learning_rate):
        raise ValueError("with shard=True set muon_learning_rate=None (Muon needs whole matrices), and give no folder")
    objective = Objective(model, recipe, tokenizer)
    try:
        run = _distributed(objective, shard)
        optimizers = build(model, recipe)
        done = state.load(folder, model, optimizers, recipe) if folder else 0
        tried_on = evaluate_mixture or recipe.stages[0].mixture
        length = max(stage.length for stage in recipe.stages)
        held = held_out(tried_on, tokenizer, evaluate_on, length) if evaluate_on and not shard else None
        device = model.embed_tokens.weight.device
        for step, (ids, targets) in enumerate(islice(batches(recipe, tokenizer), done, None), done + 1):
            start, rate = time.perf_counter(), recipe.rate(step - 1)
            mine = ids[rank::ranks].to(device), targets[rank::ranks].to(device)
            losses, norm = _step(run, optimizers, *mine, recipe, rate)
            objective.balance(rate)
            seconds, last = time.perf_counter() - start, step == recipe.steps
            record = Record(
                step=step,
                steps=recipe.steps,
                tokens=step * recipe.batch_size * recipe.length,
                loss=_over_ranks(losses.next_token),
                mtp=None if losses.mtp is None else _over_ranks(losses.mtp),
                learning_rate=recipe.learning_rate * rate,
                gradient_norm=norm,
                tokens_per_second=recipe.batch_size * recipe.length / seconds,
                load=None if losses.loads is None else float(losses.loads.max()),
                distance=distance(model, held) if held and (step % evaluate_every == 0 or last) else None,
                loads=None if losses.loads is None else _few_digits(losses.loads),
            )
            # once the record is made: a run killed while it tries the model does the step again
            if folder and rank == 0 and (step % save_every == 0 or last):
                state.save(folder, step, model, optimizers, recipe)
            yield record
    finally:
        objective.close()


def _few_digits(loads: torch.Tensor) -> list[list[float]]:
    return [[round(one, 3) for one in layer] for layer in loads.tolist()]


def _step(run: nn.Module, optimizers: list, ids, targets, recipe: Recipe, rate: float) -> tuple[Losses, float]:
    """One step of all optimizers: the losses before it, and the gradient's norm before clipping."""
    set_rate(optimizers, recipe, rate)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=recipe.bf16):
        losses = run(ids, targets)
    losses.total.backward()
    norm = nn.utils.clip_grad_norm_(run.parameters(), recipe.max_grad_norm)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return losses, float(norm)


def _distributed(objective: Objective, shard: bool) -> nn.Module:
    if not dist.is_initialized():
        return objective
    if not shard:
        return nn.parallel.DistributedDataParallel(objective)
    from torch.distributed.fsdp import fully_shard

    for layer in objective.model.layers:
        fully_shard(layer)
    return fully_shard(objective)


def _over_ranks(loss: torch.Tensor) -> float:
    """Each rank's share of the mean is its own sum over the common number: the mean of the shares is the loss."""
    if dist.is_initialized():
        dist.all_reduce(loss, dist.ReduceOp.SUM)
        loss = loss / dist.get_world_size()
    return float(loss)


@torch.inference_mode()
def above_floor(model: LanguageModel, held: HeldOut, batch_size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """How far each text's loss lies above its floor, in nats, and its tokens. (N,), (N,)"""
    found = []
    for ids, targets in zip(held.ids.split(batch_size), held.targets.split(batch_size), strict=True):
        device = model.embed_tokens.weight.device
        logits = model(ids.to(device)).float()
        targets = targets.to(device)
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
        found.append(losses.view(targets.shape).sum(1).cpu())
    return torch.cat(found) - held.floors, (held.targets != IGNORED).sum(1)


def distance(model: LanguageModel, held: HeldOut) -> dict[str, float]:
    """Nats per token above the floor, by domain and over "all". 0 is perfect; sampling alone can give less."""
    above, tokens = above_floor(model, held)
    found = {}
    for domain in sorted(set(held.domains)):
        of = torch.tensor([one == domain for one in held.domains])
        found[domain] = float(above[of].sum() / tokens[of].sum())
    return found | {"all": float(above.sum() / tokens.sum())}


def read_records(path: Path) -> list[Record]:
    """The records that a run has written, one JSON value a line; of a step that was done again, the last one. A line
    that a killed run left unfinished is passed over."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = Record(**json.loads(line))
        except json.JSONDecodeError:
            continue
        found[record.step] = record
    return [found[step] for step in sorted(found)]
