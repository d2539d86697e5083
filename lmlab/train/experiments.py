"""The recorded experiments of lessons 06 and 10, each arm over several seeds: python -m lmlab.train.experiments stages

Records go to data/runs/<experiment>/<arm>-<seed>.jsonl, and beside them command.json: what was run. A run that is there
already is left alone. All arms of an experiment read equally many tokens, and their distance is measured on the same
held-out texts.

- architectures: the four miniatures, the same recipe and the same texts
- stages: general, then reasoning-heavy, then long texts; against the very same steps in random order
- synthetic: the corpus; against as much text that an earlier miniature wrote (temperature 1), another one for each seed
- balancing: each miniature with experts, its load kept even in its family's way (a loss over the global batch, or
  DeepSeek's bias); against the same model and texts without
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from lmlab.checkpoints import load
from lmlab.families import MINIATURES, config
from lmlab.generation import write
from lmlab.model import LanguageModel, build
from lmlab.paths import data_path
from lmlab.text.tokenizer import END, Tokenizer
from lmlab.train.__main__ import number
from lmlab.train.data import corpus_tokenizer
from lmlab.train.loads import BALANCED, SPARSE, UNBALANCED
from lmlab.train.optimizers import init_for_training
from lmlab.train.pretraining import Record, pretrain
from lmlab.train.recipe import Recipe

EXPERIMENTS = ("architectures", "stages", "synthetic", "balancing")
STAGES = "general:0.6 reasoning:0.3 long:0.1@1024"
WRITER = "mini-qwen3"
KEPT = 4  # of so many records one is kept, besides those that measured a distance


def arms(experiment: str, recipe: Recipe, written: Path) -> dict[str, tuple[str, Recipe, str]]:
    """Arm -> the miniature, its recipe, and the mixture that its distance is measured on."""
    if experiment == "architectures":
        return {name: (name, recipe, "general") for name in MINIATURES}
    if experiment == "stages":
        staged = replace(recipe, mixture=STAGES)
        both = {"one-after-the-other": staged, "shuffled": replace(staged, shuffled=True)}
        return {arm: ("mini-qwen3", its, "flat") for arm, its in both.items()}
    if experiment == "synthetic":
        both = {"corpus": recipe, "written-by-a-model": replace(recipe, mixture=str(written))}
        return {arm: ("mini-qwen3", its, "general") for arm, its in both.items()}
    if experiment == "balancing":
        free = replace(recipe, router_aux_loss_coef=0.0, bias_rate=0.0)
        both = {BALANCED: recipe, UNBALANCED: free}
        return {f"{name}-{way}": (name, its, "general") for name in SPARSE for way, its in both.items()}
    raise ValueError(f"there is no experiment {experiment!r}; there are {', '.join(EXPERIMENTS)}")


def texts(model: LanguageModel, tokenizer: Tokenizer, tokens: int, seed: int, rows: int = 64) -> Iterator[str]:
    """Texts sampled from a model, `rows` at a time, until there are `tokens` of them. Those that find no end are left
    out: a reader's text would not hold half a story either."""
    generator, longest = torch.Generator().manual_seed(seed), model.config.max_position_embeddings
    while tokens > 0:
        prompts = [[tokenizer.end]] * rows
        for ids in write(model, prompts, eos_token_id=tokenizer.end, max_new_tokens=longest, generator=generator):
            if len(ids) < longest:
                tokens -= len(ids) + 1
                yield tokenizer.decode(ids)


def write_text(path: Path, tokens: int, seed: int) -> None:
    """A .txt of at least `tokens` tokens by the shipped miniature, its texts set apart by the end token."""
    model, tokenizer = load(WRITER, dtype=torch.float32), corpus_tokenizer()
    with tqdm(total=tokens, desc=f"{WRITER} writes", unit=" tokens") as bar, open(path, "w", encoding="utf-8") as file:
        for text in texts(model, tokenizer, tokens, seed):
            file.write(text + END)
            bar.update(len(tokenizer.encode(text)) + 1)


def run(name: str, recipe: Recipe, mixture: str) -> Iterator[Record]:
    model = build(config(name))
    init_for_training(model, torch.Generator().manual_seed(recipe.seed))
    every = max(1, recipe.steps // 12)
    return pretrain(model, corpus_tokenizer(), recipe, evaluate_every=every, evaluate_mixture=mixture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--tokens", type=number, default=number("1M"), help="of each run; 1M")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    folder = data_path() / "runs" / given.experiment
    folder.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        recipe, written = Recipe(tokens=given.tokens, bf16=True, seed=seed), Path(f"written-{seed}.txt")
        if given.experiment == "synthetic" and not written.exists():
            write_text(written, given.tokens * 5 // 4, seed)  # nine tenths are trained on
        for arm, (name, its_recipe, mixture) in arms(given.experiment, recipe, written).items():
            path = folder / f"{arm}-{seed}.jsonl"
            if path.exists():
                continue
            records = tqdm(run(name, its_recipe, mixture), total=its_recipe.steps, desc=path.stem)
            kept = [asdict(record) for record in records if record.step % KEPT == 0 or record.distance]
            path.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
            note(folder / "command.json", path.stem, its_recipe, name)


def note(path: Path, run_name: str, recipe: Recipe, name: str) -> None:
    """What made a run: the command, the recipe, the model, and which weights wrote its text, if any did."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    said = {"command": " ".join(["python -m lmlab.train.experiments", *sys.argv[1:]]), "model": name}
    if recipe.mixture.endswith(".txt"):
        weights = data_path("checkpoints", WRITER, "model.safetensors").read_bytes()
        said["written by"] = f"{WRITER}, sha256 {hashlib.sha256(weights).hexdigest()[:16]}"
    known[run_name] = said | {"recipe": asdict(recipe)}
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
