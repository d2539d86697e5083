"""The recorded experiments of lesson 10, each arm over several seeds: python -m lmlab.train.experiments stages

Records go to data/runs/<experiment>/<arm>-<seed>.jsonl; a run that is there already is left alone. All arms of an
experiment read equally many tokens, and their distance is measured on the same held-out texts.

- architectures: the four miniatures, the same recipe and the same texts
- stages: general, then reasoning-heavy, then long texts, against their sum mixed from the start
- synthetic: the corpus against as much text that an earlier miniature wrote (mini-qwen3, temperature 1)
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from lmlab.checkpoints import load
from lmlab.families import config
from lmlab.generation import generate
from lmlab.model import LanguageModel, build
from lmlab.paths import data_path
from lmlab.sampling import Sampler
from lmlab.text.tokenizer import END, Tokenizer
from lmlab.train.__main__ import corpus_tokenizer, number
from lmlab.train.optimizers import init_for_training
from lmlab.train.pretraining import Record, pretrain
from lmlab.train.recipe import Recipe

MINIATURES = ("mini-gpt-oss", "mini-qwen3", "mini-qwen3-moe", "mini-deepseek-v3")
STAGES = "general:0.6 reasoning:0.3 long:0.1"
WRITER = "mini-qwen3"
KEPT = 4  # of so many records one is kept, besides those that measured a distance


def arms(experiment: str, recipe: Recipe, written: Path) -> dict[str, tuple[str, Recipe, str]]:
    """Arm -> the miniature, its recipe, and the mixture that its distance is measured on."""
    if experiment == "architectures":
        return {name: (name, recipe, "general") for name in MINIATURES}
    if experiment == "stages":
        mixtures = {"three-stages": STAGES, "one-mixture": "flat"}
        return {arm: ("mini-qwen3", replace(recipe, mixture=mixture), "flat") for arm, mixture in mixtures.items()}
    if experiment == "synthetic":
        mixtures = {"corpus": "general", "written-by-a-model": str(written)}
        return {arm: ("mini-qwen3", replace(recipe, mixture=mixture), "general") for arm, mixture in mixtures.items()}
    raise ValueError(f"there is no experiment {experiment!r}; there are architectures, stages, synthetic")


def texts(model: LanguageModel, tokenizer: Tokenizer, tokens: int, rows: int = 64, seed: int = 0) -> Iterator[str]:
    """Texts sampled from a model, `rows` at a time, until there are `tokens` of them. Those without an end are left
    out: a reader's text would not hold half a story either."""
    generator = torch.Generator().manual_seed(seed)
    while tokens > 0:
        written: list[list[int]] = [[] for _ in range(rows)]
        steps = generate(
            model,
            [[tokenizer.end]] * rows,
            max_new_tokens=model.config.max_position_embeddings,
            sampler=Sampler(),
            stop_tokens=[tokenizer.end],
            generator=generator,
        )
        for step in steps:
            for row, token in zip(written, step.token.tolist(), strict=True):
                row.append(token)
        for row in written:
            if tokenizer.end in row:
                end = row.index(tokenizer.end)
                tokens -= end + 1
                yield tokenizer.decode(row[:end])


def write_synthetic(path: Path, tokens: int) -> None:
    """A .txt of at least `tokens` tokens by the shipped miniature, its texts set apart by the end token."""
    model, tokenizer = load(WRITER, dtype=torch.float32), corpus_tokenizer()
    bar = tqdm(total=tokens, desc=f"{WRITER} writes", unit="tokens")
    with open(path, "w", encoding="utf-8") as file:
        for text in texts(model, tokenizer, tokens):
            file.write(text + END)
            bar.update(len(tokenizer.encode(text)) + 1)


def run(name: str, recipe: Recipe, mixture: str) -> Iterator[Record]:
    model = build(config(name))
    init_for_training(model, torch.Generator().manual_seed(recipe.seed))
    every = max(1, recipe.steps // 12)
    return pretrain(model, corpus_tokenizer(), recipe, evaluate_every=every, evaluate_mixture=mixture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=("architectures", "stages", "synthetic"))
    parser.add_argument("--tokens", type=number, default=number("1M"), help="of each run; 1M")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--written", type=Path, default=Path("written.txt"), help="where the miniature's text is kept")
    given = parser.parse_args()
    if given.experiment == "synthetic" and not given.written.exists():
        write_synthetic(given.written, given.tokens * 5 // 4)  # nine tenths are trained on
    folder = data_path() / "runs" / given.experiment
    folder.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        recipe = Recipe(tokens=given.tokens, bf16=True, seed=seed)
        for arm, (name, its_recipe, mixture) in arms(given.experiment, recipe, given.written).items():
            path = folder / f"{arm}-{seed}.jsonl"
            if path.exists():
                continue
            records = tqdm(run(name, its_recipe, mixture), total=its_recipe.steps, desc=path.stem)
            kept = [asdict(record) for record in records if record.step % KEPT == 0 or record.distance]
            path.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


if __name__ == "__main__":
    main()
