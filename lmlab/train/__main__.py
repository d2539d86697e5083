"""Train a miniature on the corpus: python -m lmlab.train mini-qwen3 --tokens 20M --bf16

On a text of one's own: python -m lmlab.train mini-qwen3 --mixture my_book.txt --out my_run
In stages: --mixture "general:0.6 reasoning:0.3 long:0.1"
Under torchrun it uses all its processes: torchrun --nproc-per-node 2 -m lmlab.train mini-qwen3
"""

import argparse
import json
import os
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from lmlab.checkpoints import save
from lmlab.families import config
from lmlab.model import build
from lmlab.paths import data_path
from lmlab.text.corpus import documents
from lmlab.text.tokenizer import Tokenizer, train
from lmlab.train.optimizers import init_for_training
from lmlab.train.pretraining import pretrain
from lmlab.train.recipe import RECIPE, Recipe, is_own_text


def number(text: str) -> int:
    """20M -> 20,000,000; k, M and B"""
    factor = {"k": 10**3, "m": 10**6, "b": 10**9}.get(text[-1].lower(), 1)
    return int(float(text[:-1] if factor > 1 else text) * factor)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a preset; its vocabulary is that of the corpus's tokenizer")
    parser.add_argument("--out", type=Path, help="where the run is kept; data/runs/NAME unless given")
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


def corpus_tokenizer() -> Tokenizer:
    """Trained on the first texts of the corpus: the same one every time."""
    return train(document.text for document in islice(documents("general", seed=0), 20_000))


def tokenizer_for(recipe: Recipe) -> Tokenizer:
    """The corpus's, or one trained on the reader's own text. It may have fewer tokens than the model has rows."""
    if not is_own_text(recipe.mixture):
        return corpus_tokenizer()
    with open(recipe.mixture, encoding="utf-8") as lines:
        return train(lines)


def main() -> None:
    given = vars(arguments())
    name, shard, out = given.pop("name"), given.pop("shard"), given.pop("out")
    every = {key: given.pop(key) for key in ("save_every", "evaluate_every")}
    if given["muon_learning_rate"] == 0:
        given["muon_learning_rate"] = None
    recipe, folder = Recipe(**given), out or data_path() / "runs" / name
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    first = not dist.is_initialized() or dist.get_rank() == 0
    model, tokenizer = build(config(name)), tokenizer_for(recipe)
    init_for_training(model, torch.Generator().manual_seed(recipe.seed))
    records = pretrain(model, tokenizer, recipe, folder=None if shard else folder, shard=shard, **every)
    bar = tqdm(records, total=recipe.steps, disable=not first)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "records.jsonl", "a", encoding="utf-8") as file:
        for record in bar:
            bar.set_postfix(loss=f"{record.loss:.3f}", refresh=False)
            if first:
                print(json.dumps(asdict(record)), file=file, flush=True)
    if first and not shard:
        save(model.to(torch.bfloat16), folder / "checkpoint")
        tokenizer.save(folder / "checkpoint")
        (folder / "checkpoint" / RECIPE).write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
