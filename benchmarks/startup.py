"""What one waits for before anything runs: the import, the build without memory, the loading of weights."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import lmlab
from benchmarks.timing import Row, alternating, seconds
from lmlab.measure.sizes import count_block

GB = 10**9


def rows(repeats: int = 5, checkpoint_gb: float = 1.0) -> list[Row]:
    return [_import(repeats), _meta_build(repeats), *_load(checkpoint_gb)]


def _import(repeats: int) -> Row:
    def fresh(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    everything = "import torch, lmlab; [getattr(lmlab, name) for name in lmlab.__all__]"
    times = alternating({"torch": lambda: fresh("import torch"), "lmlab": lambda: fresh(everything)}, repeats)
    added = times["lmlab"] - times["torch"]
    took, alone = f"{times['lmlab']:.2f} s", f"torch alone {times['torch']:.2f} s"
    return Row("import lmlab, every public name", took, alone, added, "0.3 s added at most")


def _meta_build(repeats: int) -> Row:
    config = lmlab.config("deepseek-v3")

    def build_and_count() -> None:
        model = lmlab.build(config, device="meta", dtype=torch.bfloat16)
        assert sum(p.numel() for p in model.parameters()) == 671_026_404_352 + 11_610_067_968

    time = alternating({"build": build_and_count}, repeats)["build"]
    return Row("build and count deepseek-v3 on meta", f"{time:.2f} s", "", time, "0.5 s at most")


_PEAK = """
import sys, lmlab
def peak():  # of this process alone: the usual ru_maxrss begins at the parent's
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
lmlab.load(sys.argv[1])
small = peak()
model = lmlab.load(sys.argv[2])
print(peak() - small)
"""


def _load(gigabytes: float) -> list[Row]:
    """Peak memory beyond that of loading a tiny model, over the size of the files (where Linux says it)."""
    if not Path("/proc/self/status").exists():
        return []
    found = []
    for name in ("mini-qwen3", "mini-qwen3-moe", "mini-gpt-oss", "mini-deepseek-v3"):
        config = lmlab.config(name)
        grown = replace(config, vocab_size=1024, hidden_size=1024, mtp=())
        layers = max(1, int(gigabytes * GB / (2 * _block_parameters(grown))))
        grown = replace(grown, blocks=(config.blocks[-1],) * layers)
        with tempfile.TemporaryDirectory() as folder:
            lmlab.save(lmlab.build(config, dtype=torch.bfloat16), f"{folder}/small")
            lmlab.save(lmlab.build(grown, dtype=torch.bfloat16), f"{folder}/large")
            size = sum(path.stat().st_size for path in Path(folder, "large").glob("*.safetensors"))
            command = [sys.executable, "-c", _PEAK, f"{folder}/small", f"{folder}/large"]
            peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
            time = seconds(lambda folder=folder: lmlab.load(f"{folder}/large"))
        what, took = f"loading peak, {name} grown", f"{peak / GB:.2f} GB in {time:.1f} s"
        found.append(Row(what, took, f"files {size / GB:.2f} GB", peak / size, "1.2 at most"))
    return found


def _block_parameters(config) -> int:
    return count_block(config.blocks[-1], config.hidden_size).total()
