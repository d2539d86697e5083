"""The card of a trained miniature: what it is, how it was trained, what it can do, and the command that makes it again.

python -m lmlab.train.card data/checkpoints/mini-qwen3     measures a checkpoint and writes its README.md anew
"""

import json
import sys
from dataclasses import fields
from pathlib import Path

import torch

from lmlab.checkpoints import load, tokenizer
from lmlab.model import LanguageModel
from lmlab.sampling import Sampler
from lmlab.text.tokenizer import Tokenizer
from lmlab.train.data import held_out
from lmlab.train.evaluation import addition, recall, stories
from lmlab.train.pretraining import distance
from lmlab.train.recipe import RECIPE, Recipe

HELD_OUT = 2000  # texts that the distance is measured on
MIN_P = 0.1


def command(name: str, recipe: Recipe) -> str:
    """What was typed: everything that differs from the recipe's defaults."""
    words = ["python -m lmlab.train", name]
    for field in fields(Recipe):
        value, flag = getattr(recipe, field.name), "--" + field.name.replace("_", "-")
        if value is None:
            words.append(f"{flag} 0")  # no Muon
        elif value != field.default:
            words.append(flag if value is True else f'{flag} "{value}"' if " " in str(value) else f"{flag} {value}")
    return " ".join(words)


def measured(model: LanguageModel, tok: Tokenizer, recipe: Recipe) -> dict[str, float]:
    """Distances to the floor (nats per token), recall, addition and stories (shares)."""
    held = held_out(recipe.stages[0].mixture, tok, HELD_OUT, recipe.length)
    found = {f"distance {domain}": value for domain, value in distance(model, held).items()}
    found["recall over 100 tokens and more"] = recall(model, tok)
    found["addition of pairs kept out of training"] = addition(model, tok)
    found["the same, digit by digit"] = addition(model, tok, by_digits=True)
    samplers = {"temperature 1": Sampler(), f"min-p {MIN_P}": Sampler(min_p=MIN_P)}
    for how, sampler in samplers.items():
        told = stories(model, tok, sampler=sampler)
        found[f"stories that the grammar reads, {how}"] = sum(good for _, good in told) / len(told)
    return found


def text(name: str, model: LanguageModel, tok: Tokenizer, recipe: Recipe) -> str:
    """The card in Markdown; the weights are tried in float32, as they lie in the file."""
    rows = [f"| {what} | {value:.3f} |" for what, value in measured(model, tok, recipe).items()]
    samples = [f"> {story}" for story, _ in stories(model, tok, 3, seed=1)]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        "\n\n".join(
            (
                f"# {name}",
                f"A miniature of its family with {parameters:,} parameters, trained on lmlab's synthetic corpus, the "
                f"mixture {recipe.mixture!r}: {recipe.tokens:,} tokens in rows of {recipe.length}, seed {recipe.seed}.",
                f"```\n{command(name, recipe)}\n```",
                "The floor is what the corpus's true probabilities leave to chance; distances are nats per token above "
                f"it, on {HELD_OUT:,} held-out texts. The rest are shares: greedy answers, and of 100 sampled stories "
                f"those true to their own earlier facts; min-p {MIN_P} leaves out tokens less than {MIN_P} times as "
                "probable as the best. Weights are bf16, tried in float32.",
                "\n".join(["| what | measured |", "|---|---|", *rows]),
                "Three stories, sampled at temperature 1:",
                *samples,
            )
        )
        + "\n"
    )


def write(folder: Path) -> None:
    """Measure the checkpoint in `folder` and write its card beside it. It takes a minute or two."""
    recipe = Recipe(**json.loads((folder / RECIPE).read_text(encoding="utf-8")))
    model = load(folder, dtype=torch.float32)
    (folder / "README.md").write_text(text(folder.name, model, tokenizer(folder), recipe), encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write(Path(argument))
