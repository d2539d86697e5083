"""A run's state in one safetensors file: weights, optimizers, and the step, so that a killed run goes on as if nothing
had happened."""

import json
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lmlab.train.recipe import Recipe

FILE = "state.safetensors"


def save(folder: Path, step: int, model: nn.Module, optimizers: list[torch.optim.Optimizer], recipe: Recipe) -> None:
    """After `step` steps. The new file takes the old one's place only when it is whole.

    OSError if it cannot be written; the last good state is still there then.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for number, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{number}.{key}": value for key, value in values.items()}
    # a copy each: a tied weight has two names, and safetensors wants no shared memory
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {"step": str(step), "recipe": json.dumps(asdict(recipe))}
    path, part = folder / FILE, folder / f"{FILE}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):  # where there is no folder, there is no part either
            part.unlink(missing_ok=True)
        kept = "the last good one is still there" if path.exists() else "none was written before"
        raise OSError(f"the state after step {step} could not be written to {path} ({error}); {kept}") from error


def load(folder: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], recipe: Recipe) -> int:
    """Puts the saved state back and returns the steps done; 0 where there is none.

    ValueError if it belongs to another recipe, or cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it to start anew") from error
    theirs = json.loads(metadata["recipe"])
    differ = {k: (v, theirs.get(k)) for k, v in asdict(recipe).items() if theirs.get(k) != v}
    if differ:
        said = ", ".join(f"{k}={ours!r} (there: {other!r})" for k, (ours, other) in differ.items())
        raise ValueError(f"{path} belongs to another recipe: {said}. Take its recipe, or another folder")
    model.load_state_dict({k.removeprefix("model."): v for k, v in values.items() if k.startswith("model.")})
    for i, optimizer in enumerate(optimizers):
        found: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
        for name, value in values.items():
            kind, *place = name.split(".")
            if kind == "optimizer" and int(place[0]) == i:
                found[int(place[1])][place[2]] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": dict(found)})
    return int(metadata["step"])
