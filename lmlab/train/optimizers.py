"""AdamW for most, Muon for the matrices of the layers; both are torch's own."""

import torch

from lmlab.model import LanguageModel
from lmlab.train.recipe import Recipe


def build(model: LanguageModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Weights of two and more dimensions decay, norms, biases and sinks do not. Muon (Jordan et al., 2024) takes the
    two-dimensional weights of the layers; embedding, head and the stacked experts stay with AdamW.

    ValueError where this torch has no Muon (before 2.9): then muon_learning_rate=None is the way.
    """
    muon, decaying, others = [], [], []
    for name, parameter in model.named_parameters():
        in_layers = name.startswith(("layers.", "mtp."))
        if recipe.muon_learning_rate and in_layers and parameter.ndim == 2:
            muon.append(parameter)
        else:
            (decaying if parameter.ndim >= 2 else others).append(parameter)
    groups = [{"params": decaying, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, betas=(0.9, 0.95))
    ]
    if muon:
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"torch {torch.__version__} has no Muon: set muon_learning_rate=None, or take torch 2.9")
        found.append(torch.optim.Muon(muon, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay))
    return found


def set_rate(optimizers: list[torch.optim.Optimizer], recipe: Recipe, rate: float) -> None:
    """The share `rate` of each optimizer's full learning rate."""
    for optimizer in optimizers:
        full = recipe.learning_rate if isinstance(optimizer, torch.optim.AdamW) else recipe.muon_learning_rate
        for group in optimizer.param_groups:
            group["lr"] = full * rate


@torch.no_grad()
def init_for_training(model: LanguageModel, generator: torch.Generator) -> None:
    """Weights as a small model wants them: projections normal with variance 1 / inputs, the embedding with a standard
    deviation of 0.5 (1 / sqrt(C) where it is the head, too). Norms, biases and sinks stay as they are."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        std = parameter.shape[-1] ** -0.5
        if name == "embed_tokens.weight" and not model.config.tie_word_embeddings:
            std = 0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
