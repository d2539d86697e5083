"""How one tensor of lmlab lies in a checkpoint file: under which names, in which order of dimensions.

Most lie as they are. The experts, stacked in lmlab as (E, out, in) with gate rows before up rows, lie expert by expert
(Qwen3-MoE and DeepSeek on the Hub), stacked (transformers in memory), or transposed, interleaved or in MXFP4 (GPT-OSS).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from lmlab.formats import mxfp4

Get = Callable[[str], torch.Tensor]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """One tensor under its own name, as it is."""

    name: str

    def files(self, shape: Shape) -> dict[str, Shape]:
        """The tensors in the file, with the shapes they must have for one of lmlab's of this shape."""
        return {self.name: shape}

    def read(self, get: Get, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
        return get(self.name).to(dtype)

    def write(self, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        yield self.name, tensor


@dataclass(frozen=True)
class PerExpert(Layout):
    """`mlp.experts.{e}.gate_proj.weight` and so on, one matrix at a time. `name` ends in experts.gate_up_proj or
    experts.down_proj."""

    def _parts(self, shape: Shape) -> Iterator[tuple[str, int, slice]]:
        prefix, _, kind = self.name.rpartition(".")
        rows = shape[1]
        parts = {"gate_proj": slice(0, rows // 2), "up_proj": slice(rows // 2, rows)}
        parts = parts if kind == "gate_up_proj" else {"down_proj": slice(0, rows)}
        for e in range(shape[0]):
            for part, place in parts.items():
                yield f"{prefix}.{e}.{part}.weight", e, place

    def files(self, shape: Shape) -> dict[str, Shape]:
        return {name: (place.stop - place.start, shape[2]) for name, _, place in self._parts(shape)}

    def read(self, get: Get, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
        stacked = torch.empty(shape, dtype=dtype)
        for name, e, place in self._parts(shape):
            stacked[e, place] = get(name)
        return stacked

    def write(self, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        for name, e, place in self._parts(tuple(tensor.shape)):
            yield name, tensor[e, place]


def interleave(rows: torch.Tensor, dim: int) -> torch.Tensor:
    """Gate rows, then up rows -> gate, up, gate, up, ... along `dim`."""
    return torch.stack(rows.chunk(2, dim=dim), dim=dim + 1).flatten(dim, dim + 1)


def copy_deinterleaved(target: torch.Tensor, rows: torch.Tensor) -> None:
    """gate, up, gate, up, ... along the first dimension -> gate rows, then up rows, into `target`."""
    half = len(rows) // 2
    target[:half] = rows[0::2]
    target[half:] = rows[1::2]


@dataclass(frozen=True)
class GptOss(Layout):
    """GPT-OSS unquantised: matrices transposed, (E, in, out); gate and up interleaved along the output, biases too."""

    @property
    def interleaved(self) -> bool:
        return "gate_up_proj" in self.name

    def files(self, shape: Shape) -> dict[str, Shape]:
        return {self.name: (shape[0], *reversed(shape[1:]))}

    def read(self, get: Get, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
        tensor = torch.empty(shape, dtype=dtype)
        for mine, theirs in zip(tensor, get(self.name), strict=True):  # expert by expert
            self.copy(mine, theirs.mT if theirs.ndim == 2 else theirs)
        return tensor

    def copy(self, mine: torch.Tensor, theirs: torch.Tensor) -> None:
        if self.interleaved:
            copy_deinterleaved(mine, theirs)
        else:
            mine.copy_(theirs)

    def write(self, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        tensor = interleave(tensor, 1) if self.interleaved else tensor
        yield self.name, tensor.mT.contiguous() if tensor.ndim == 3 else tensor


@dataclass(frozen=True)
class GptOssMXFP4(GptOss):
    """GPT-OSS as released: MXFP4 blocks along the input, (E, out, in/32, 16), and their scales."""

    def files(self, shape: Shape) -> dict[str, Shape]:
        blocks = (*shape[:2], shape[2] // mxfp4.BLOCK)
        return {f"{self.name}_blocks": (*blocks, mxfp4.BLOCK // 2), f"{self.name}_scales": blocks}

    def read(self, get: Get, shape: Shape, dtype: torch.dtype) -> torch.Tensor:
        tensor = torch.empty(shape, dtype=dtype)
        blocks, scales = get(f"{self.name}_blocks"), get(f"{self.name}_scales")
        for mine, block, scale in zip(tensor, blocks, scales, strict=True):
            self.copy(mine, mxfp4.dequantize(block, scale, dtype))
        return tensor

    def write(self, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        blocks, scales = mxfp4.quantize(interleave(tensor, 1) if self.interleaved else tensor)
        yield f"{self.name}_blocks", blocks
        yield f"{self.name}_scales", scales


def hub_experts(name: str) -> list[Layout]:
    """Qwen3-MoE and DeepSeek: expert by expert as on the Hub, or stacked as lmlab and transformers hold them."""
    return [PerExpert(name), Layout(name)]


def gpt_oss_experts(name: str) -> list[Layout]:
    return (
        [Layout(name)]
        if name.endswith("down_proj_bias")
        else ([GptOss(name)] if name.endswith("bias") else [GptOss(name), GptOssMXFP4(name)])
    )
