"""A function of a model as one compiled graph: the same arithmetic in a few C++ kernels, without Python between the
operations.

torch.compile takes the function whole. Two things are done for decoding, where a handful of tokens meets every weight
once. Products of a few rows with a weight are written out as sums, which the compiler fuses with what stands around
them, where a call of the matrix library would cost more than the product. And the compiler's guards, which look at each
module again before every call, are replaced by one look at the model before each generation (`structure`).
"""

from collections.abc import Callable, Hashable
from types import FunctionType
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

FEW_ROWS = 2
# every shared intermediate result is stored once, not computed again inside each sum that reads it
OPTIONS = {"cpp_wrapper": True, "size_asserts": False, "realize_reads_threshold": 1, "realize_opcount_threshold": 2}

_made: WeakKeyDictionary[nn.Module, dict[Hashable, Callable]] = WeakKeyDictionary()


def compiled(function: Callable, model: nn.Module, *sizes: Hashable) -> Callable:
    """`function(model, ...)` as one compiled graph, made at its first call, which takes 20 to 50 s on two cores and
    shows it by a progress line (PyTorch keeps the result on disk: a few seconds the next time).

    `sizes` is whatever fixes the shapes of the other arguments. The graph is kept for this model, as long as the model
    lives, and for its present structure: weights may change and are read anew at each call, but a changed
    configuration or part (`lmlab.intervene`) is another graph. ValueError if the model has hooks: a compiled graph
    would pass them by.
    """
    refuse_hooks(model)
    device = next(model.parameters()).device.type
    key = (function, structure(model), sizes, torch.get_num_threads(), torch.is_autocast_enabled(device))
    graphs = _made.setdefault(model, {})
    if key not in graphs:
        graphs[key] = _announced(_own(function), f"compiling {model.config.name or 'a model'}, once: 20 to 50 s")
    return graphs[key]


def runner(function: Callable, model: nn.Module, compile: bool, *sizes: Hashable) -> Callable:
    """call(...) -> function(model, ...) in inference mode, compiled if wanted."""
    run = compiled(function, model, *sizes) if compile else function

    def call(*arguments):
        with torch.inference_mode():
            return run(model, *arguments)

    return call


def refuse_hooks(model: nn.Module) -> None:
    if isinstance(model, torch._dynamo.OptimizedModule):
        raise ValueError("this model is compiled already: give the model itself, which compile=True compiles")
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise ValueError(
                f"{name or 'the model'} has a hook (of Trace or intervene, or one of yours), and a compiled step would "
                f"pass it by: generate with compile=False, or after the hook is gone"
            )


def structure(model: nn.Module) -> tuple:
    """Everything about a model that a compiled graph takes for granted: modules, configurations, shapes, dtypes."""
    return tuple((name, type(module), *_attributes(module)) for name, module in model.named_modules())


def _attributes(module: nn.Module) -> list[tuple]:
    own = {name: value for name, value in vars(module).items() if not isinstance(value, dict)}
    found = [(name, _comparable(value)) for name, value in own.items()]
    tensors = {**module._parameters, **module._buffers}
    sizes = {n: None if t is None else (t.shape, t.stride(), t.dtype, t.device) for n, t in tensors.items()}
    return found + list(sizes.items())


def _comparable(value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def _own(function: Callable) -> Callable:
    """The function under a code object of its own: PyTorch keeps its graphs by code object, and without guards it
    could not tell those of one model from another's."""
    copy = FunctionType(function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__)
    unguarded = getattr(torch.compiler, "skip_all_guards_unsafe", None)  # an older PyTorch keeps its guards
    options = {"guard_filter_fn": unguarded} if unguarded else None
    return torch.compile(copy, backend=_backend, fullgraph=True, dynamic=False, options=options)


def _backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
    for node in graph.graph.find_nodes(op="call_function", target=F.linear):
        x = node.args[0].meta["example_value"]
        if x.numel() <= FEW_ROWS * x.shape[-1]:
            node.target = linear_as_sums
    graph.recompile()
    return torch._inductor.compile(graph, inputs, options=OPTIONS)


def linear_as_sums(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """F.linear of a few rows: (..., in), (out, in), (out,) -> (..., out). Summed row by row, each weight is still
    loaded once: the compiler joins sums over the same weight."""
    out = torch.stack([(row * weight).sum(-1) for row in x.reshape(-1, x.shape[-1])])  # (rows, out)
    out = out.view(*x.shape[:-1], -1)
    return out if bias is None else out + bias


def _announced(function: Callable, message: str) -> Callable:
    """Says, while the first call lasts, what takes so long."""
    waiting = True

    def call(*arguments):
        nonlocal waiting
        if not waiting:
            return function(*arguments)
        with tqdm(total=1, desc=message, bar_format="{desc} [{elapsed}]") as line:
            try:
                result = function(*arguments)
            except Exception as error:
                raise RuntimeError(
                    "torch.compile failed (it needs a C++ compiler, g++ or clang): compile=False does without"
                ) from error
            line.update()
        waiting = False
        return result

    return call
