"""The miniatures and transformers' models with the same weights."""

import tempfile
from dataclasses import replace

import torch
import transformers

import lmlab
from lmlab.model import LanguageModel

MINIATURES = ("mini-gpt-oss", "mini-qwen3", "mini-qwen3-moe", "mini-deepseek-v3")


def pair(name: str) -> tuple[LanguageModel, transformers.PreTrainedModel]:
    """lmlab's model with random weights, and transformers' read from the checkpoint that lmlab writes of it. Without
    MTP."""
    model = lmlab.build(replace(lmlab.config(name), mtp=())).eval()
    with torch.no_grad():  # larger weights than at the start of training: logits that differ
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        lmlab.save(model, folder)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, theirs


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
