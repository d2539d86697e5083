"""The miniatures and transformers' models with the same weights."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import transformers

import lmlab
from lmlab.model import LanguageModel
from lmlab.paths import data_path


def pair(name: str) -> tuple[LanguageModel, transformers.PreTrainedModel]:
    """lmlab's model with random weights, and transformers' read from the checkpoint that lmlab writes of it. Without
    MTP."""
    model = random_model(name, mtp=False)
    with tempfile.TemporaryDirectory() as folder:
        lmlab.save(model, folder)
        return model, theirs(folder)


def shipped_pair(name: str) -> tuple[LanguageModel, transformers.PreTrainedModel]:
    """The trained miniature, read by both from the same folder in float32; a random pair where data/ holds none."""
    folder = shipped(name)
    if folder is None:
        return pair(name)
    return lmlab.load(folder, dtype=torch.float32), theirs(folder)


def shipped(name: str) -> Path | None:
    try:
        return data_path("checkpoints", name)
    except FileNotFoundError:
        return None


def random_model(name: str, mtp: bool = True) -> LanguageModel:
    config = lmlab.config(name)
    model = lmlab.build(config if mtp else replace(config, mtp=())).eval()
    with torch.no_grad():  # larger weights than at the start of training: logits that differ
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model


def theirs(folder: str | Path) -> transformers.PreTrainedModel:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def expert_paths(theirs: transformers.PreTrainedModel) -> list[str]:
    """The ways in which transformers can compute this model's experts; one way where there are none."""
    ways = ["eager", "grouped_mm"] if hasattr(theirs.config, "num_experts_per_tok") else ["eager"]
    return [way for way in ways if _accepts(theirs, way)]


def _accepts(theirs: transformers.PreTrainedModel, way: str) -> bool:
    try:
        theirs.set_experts_implementation(way)
        return True
    except (AttributeError, ValueError):
        return way == "eager"
