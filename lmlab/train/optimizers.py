"""AdamW for most, Muon for the matrices of the layers; both are torch's own."""

import torch

from lmlab.model import LanguageModel
from lmlab.train.recipe import Recipe


def build(model: LanguageModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the matrices of the layers, each expert's among them; AdamW for embedding, head,
    routers and the rest. Matrices decay; norms, biases and sinks do not.

    ValueError where this torch has no Muon (before 2.9): then muon_learning_rate=None is the way.
    """
    muon, decaying, others = [], [], []
    for name, parameter in model.named_parameters():
        in_layers = name.startswith(("layers.", "mtp.")) and ".router." not in name
        if parameter.ndim < 2 or name.endswith("bias"):  # the experts' biases lie stacked, too
            others.append(parameter)
        else:
            (muon if recipe.muon_learning_rate and in_layers else decaying).append(parameter)
    groups = [{"params": decaying, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))]
    return [*found, _muon(muon, recipe)] if muon else found


def _muon(parameters: list[torch.Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """torch's Muon, which takes single matrices: a stack (E, out, in) becomes E of them that share its memory."""
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"torch {torch.__version__} has no Muon: set muon_learning_rate=None, or take torch 2.9")
    stacks = [(stack, stack.detach().unbind()) for stack in parameters if stack.ndim == 3]
    matrices = [matrix for matrix in parameters if matrix.ndim == 2]
    matrices += [matrix for _, parts in stacks for matrix in parts]
    optimizer = torch.optim.Muon(matrices, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay)

    def hand_out(*_) -> None:
        for stack, parts in stacks:
            for part, gradient in zip(parts, stack.grad.unbind(), strict=True):
                part.grad = gradient

    def drop(*_) -> None:
        for stack, _ in stacks:
            stack.grad = None

    optimizer.register_step_pre_hook(hand_out)
    optimizer.register_step_post_hook(drop)
    return optimizer


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
        if parameter.ndim < 2 or name.endswith("bias"):
            continue
        std = parameter.shape[-1] ** -0.5
        if name == "embed_tokens.weight" and not model.config.tie_word_embeddings:
            std = 0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
