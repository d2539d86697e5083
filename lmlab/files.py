"""The safetensors files of a checkpoint folder: opened with every fault noted, and written in shards."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lmlab.formats import fp8

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
FLOATS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn}


class Files:
    """The safetensors files of a folder, opened; their tensors by name, none of them read yet."""

    def __init__(self, folder: Path):
        self.folder, self.problems = folder, []
        self._where: dict[str, safe_open] = {}
        listed: dict[str, str] = {}
        if (folder / INDEX).exists():
            listed = read_json(folder / INDEX).get("weight_map", {})
            shards = sorted(set(listed.values()))
        elif (folder / SINGLE).exists():
            shards = [SINGLE]
        else:
            pickled = sorted(path.name for path in folder.glob("*.bin"))
            hint = f"; {pickled[0]} is pickled and is not read: convert it to safetensors first" if pickled else ""
            raise FileNotFoundError(f"{folder} has neither {SINGLE} nor {INDEX}{hint}")
        for shard in shards:
            self._open(folder / shard)
        self.problems += [
            f"{INDEX} lists {name} in {shard}, which does not hold it"
            for name, shard in listed.items()
            if name not in self._where and (folder / shard).exists()
        ]
        self.nbytes = sum((folder / shard).stat().st_size for shard in shards if (folder / shard).exists())

    def _open(self, path: Path) -> None:
        if not path.exists():
            self.problems.append(f"missing file: {path.name}, which {INDEX} lists")
            return
        try:
            # read, not mapped: mapped pages would count beside the copies that are made of them
            handle = safe_open(path, framework="pt", backend="pread")
        except TypeError:  # an older safetensors
            handle = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            self.problems.append(f"truncated, or no safetensors file: {path.name} ({error})")
            return
        self._where |= dict.fromkeys(handle.keys(), handle)

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *error) -> None:
        self._where.clear()  # the handles close with their last reference

    @property
    def names(self) -> set[str]:
        return set(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._where[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        return self._where[name].get_slice(name).get_dtype()

    def model_dtype(self, fields: dict) -> torch.dtype:
        """What config.json says, else what the embedding is in."""
        said = getattr(torch, str(fields.get("dtype") or fields.get("torch_dtype")), None)
        if said in FLOATS.values():
            return said
        embedding = "model.embed_tokens.weight"
        return FLOATS.get(self.dtype(embedding), torch.float32) if embedding in self._where else torch.float32

    def check(self, name: str, expected: tuple[int, ...]) -> list[str]:
        problems, dtype = [], self.dtype(name)
        if self.shape(name) != expected:
            problems.append(f"misshapen: {name} is {self.shape(name)} and must be {expected}")
        if dtype not in FLOATS and not name.endswith(("_blocks", "_scales")):
            problems.append(f"number format: {name} is {dtype}; {', '.join(FLOATS)} are read")
        if dtype == "F8_E4M3" and f"{name}_scale_inv" not in self._where:
            problems.append(f"missing: {name}_scale_inv, the scales of {name}")
        return problems

    def get(self, name: str) -> torch.Tensor:
        """One tensor; FP8 multiplied out by its scales."""
        tensor = self._where[name].get_tensor(name)
        if tensor.dtype == torch.float8_e4m3fn:
            return fp8.dequantize_weight(tensor, self._where[f"{name}_scale_inv"].get_tensor(f"{name}_scale_inv"))
        return tensor


def write_shards(tensors: Iterator[tuple[str, torch.Tensor]], folder: Path, max_shard_bytes: int) -> None:
    """`tensors` one after another: one file if everything fits, else model-00001-of-0000N.safetensors and an index."""
    shards, shard, size, total = [], {}, 0, 0

    def flush() -> None:
        path = folder / f"{len(shards):05}.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in shard.items()}, path, metadata={"format": "pt"})
        shards.append((path, list(shard)))

    for name, tensor in tensors:
        if shard and size + tensor.nbytes > max_shard_bytes:
            flush()
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    if len(shards) == 1:
        shards[0][0].rename(folder / SINGLE)
        return
    weight_map = {}
    for i, (path, names) in enumerate(shards, start=1):
        final = path.rename(folder / f"model-{i:05}-of-{len(shards):05}.safetensors")
        weight_map |= dict.fromkeys(names, final.name)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    if not path.exists():
        raise FileNotFoundError(f"{path.parent} has no {path.name}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
