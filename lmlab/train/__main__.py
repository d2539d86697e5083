"""Train a miniature on the corpus: python -m lmlab.train mini-qwen3 --tokens 20M --bf16

On a text of one's own: python -m lmlab.train mini-qwen3 --mixture my_book.txt --out my_run
In stages: --mixture "general:0.6 reasoning:0.3 long:0.1@1024"
Under torchrun it uses all its processes: torchrun --nproc-per-node 2 -m lmlab.train mini-qwen3
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, fields
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from lmlab.checkpoints import save
from lmlab.families import config
from lmlab.model import build
from lmlab.paths import data_path
from lmlab.train.data import tokenizer_for
from lmlab.train.optimizers import init_for_training
from lmlab.train.pretraining import Record, pretrain
from lmlab.train.recipe import RECIPE, Recipe


def number(text: str) -> int:
    """20M -> 20,000,000; k, M and B"""
    factor = {"k": 10**3, "m": 10**6, "b": 10**9}.get(text[-1].lower(), 1)
    return int(float(text[:-1] if factor > 1 else text) * factor)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a preset; its vocabulary is that of the corpus's tokenizer")
    parser.add_argument("--out", type=Path, help="where the run is kept; data/runs/NAME unless given")
    has = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=has, help=has)
    parser.add_argument("--shard", action="store_true", help="FSDP2 in place of DDP; nothing is kept to go on from")
    parser.add_argument("--save-every", type=int, default=250, help="steps; 250")
    parser.add_argument("--evaluate-every", type=int, default=250, help="steps; 250")
    for field in fields(Recipe):
        default = number("20M") if field.name == "tokens" else field.default
        flag = "--" + field.name.replace("_", "-")
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            kind = number if field.name == "tokens" else type(default)
            parser.add_argument(flag, type=kind, default=default, help=f"{default}")
    return parser.parse_args()


def keep(record: Record, path: Path) -> None:
    """Append a record to the file; a line that a killed run left unfinished is closed first. OSError names the file."""
    try:
        with open(path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read() != b"\n"
                file.write(b"\n" if torn else b"")
            file.write(json.dumps(asdict(record)).encode() + b"\n")
    except OSError as error:
        said = f"the record of step {record.step} could not be written to {path} ({error}); the last good state is kept"
        raise OSError(said) from error


def main() -> None:
    given = vars(arguments())
    name, shard, out, device = (given.pop(key) for key in ("name", "shard", "out", "device"))
    every = {key: given.pop(key) for key in ("save_every", "evaluate_every")}
    if given["muon_learning_rate"] == 0:
        given["muon_learning_rate"] = None
    recipe, folder = Recipe(**given), out or data_path() / "runs" / name
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        device = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    first = not dist.is_initialized() or dist.get_rank() == 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "records.jsonl").open("ab").close()
    except OSError as error:
        sys.exit(f"{folder} cannot be written ({error}): name another folder with --out")
    model, tokenizer = build(config(name)), tokenizer_for(recipe)
    init_for_training(model, torch.Generator().manual_seed(recipe.seed))
    with tqdm(total=recipe.steps, disable=not first) as bar:
        for record in pretrain(
            model.to(device), tokenizer, recipe, folder=None if shard else folder, shard=shard, **every
        ):
            bar.set_postfix(loss=f"{record.loss:.3f}", refresh=False)
            bar.update(record.step - bar.n)
            if first:
                keep(record, folder / "records.jsonl")
    if first and not shard:
        save(model.to("cpu", torch.bfloat16), folder / "checkpoint")
        tokenizer.save(folder / "checkpoint")
        (folder / "checkpoint" / RECIPE).write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
