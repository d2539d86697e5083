"""Training tokens per second: forward, backward and one AdamW step, float32."""

import torch
import torch.nn.functional as F

from benchmarks.pairs import expert_paths, pair
from benchmarks.timing import Row, alternating
from lmlab.families import MINIATURES

BATCH, LENGTH = 16, 256


def rows(repeats: int = 5, batch: int = BATCH, length: int = LENGTH, names: tuple[str, ...] = MINIATURES) -> list[Row]:
    return [_row(name, repeats, batch, length) for name in names]


def _row(name: str, repeats: int, batch: int, length: int) -> Row:
    model, theirs = pair(name)
    ids = torch.randint(0, model.config.vocab_size, (batch, length + 1), generator=torch.Generator().manual_seed(0))
    runs = {"lmlab": trainer(model, lambda: model(ids[:, :-1]), ids)}
    step = trainer(theirs, lambda: theirs(ids[:, :-1], use_cache=False).logits, ids)
    for way in expert_paths(theirs):
        runs[way] = lambda way=way: _with(theirs, way, step)
    times = alternating(runs, repeats)
    best = min((way for way in times if way != "lmlab"), key=times.get)
    speed = {side: f"{batch * length / time:.0f} tok/s" for side, time in times.items()}
    return Row(f"training {name}", speed["lmlab"], f"{speed[best]} ({best})", times[best] / times["lmlab"], "0.9")


def _with(theirs, way: str, step) -> None:
    if hasattr(theirs.config, "num_experts_per_tok"):
        theirs.set_experts_implementation(way)
    step()


def trainer(model: torch.nn.Module, forward, ids: torch.Tensor):
    """A function that makes one step on the given batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        loss = F.cross_entropy(forward().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
