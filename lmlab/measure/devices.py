"""What models run on: memory, bandwidth and peak arithmetic of real GPUs, Macs and a CPU, from data/devices.csv.

Peaks are those of dense matrix products, as published or computed from published figures; no program reaches them.
"""

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmlab import facts

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "nvidia-t4": "T4",
    "nvidia-rtx-4090": "RTX 4090",
    "nvidia-rtx-5090": "RTX 5090",
    "nvidia-a100-sxm": "A100",
    "nvidia-h100-sxm": "H100",
    "nvidia-h200-sxm": "H200",
    "nvidia-b200-sxm": "B200",
    "amd-mi300x": "MI300X",
    "amd-mi355x": "MI355X",
    "amd-ryzen-ai-max-395": "Ryzen AI Max+ 395",
    "apple-m4-max": "Mac, M4 Max",
    "apple-m3-ultra": "Mac, M3 Ultra",
    "intel-xeon-8480": "Xeon 8480+ (CPU)",
}
"""Every whole device of data/devices.csv -> how it is called."""


@dataclass(frozen=True)
class Device:
    """One device, or several that share the work: `memory` in bytes, `bandwidth` in bytes/s, and the peak of each
    number format in FLOP/s: `two_byte` (BF16, or FP16 where a device multiplies no BF16), `fp8` and `fp4` (None where
    it has none). Several have several times each; what they must tell each other costs nothing here."""

    name: str
    count: int
    memory: int
    bandwidth: float
    two_byte: float
    two_byte_format: str
    fp8: float | None = None
    fp4: float | None = None

    @property
    def label(self) -> str:
        return f"{self.count} x {NAMES[self.name]}"

    @property
    def ridge(self) -> float:
        """FLOP for each byte from which arithmetic is the bound, in two-byte numbers."""
        return self.two_byte / self.bandwidth

    def peak(self, format: str) -> float:
        """FLOP/s of products of numbers in this format: "fp8", where the device has it, else of two-byte numbers, into
        which all others are turned first (as GPT-OSS's MXFP4 is on GPUs before Blackwell)."""
        return self.fp8 if format == "fp8" and self.fp8 else self.two_byte


def device(name: str, count: int = 1) -> Device:
    """`count` devices of this name. Memory is what the driver reports where that is known, since an "80 GB" H100 has
    85.5 GB. ValueError for an unknown name or a count below 1."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=3) or NAMES
        raise ValueError(f"no device is called {name!r}; there are {', '.join(near)}")
    if count < 1:
        raise ValueError(f"count={count} must be 1 or more")
    known = {field: facts.value(name, field) for field in facts.table(name)["field"]}
    memory = known["memory_reported"] * 2**20 if "memory_reported" in known else known["memory"] * 10**9
    two_byte = "peak_bf16" if "peak_bf16" in known else "peak_fp16"

    def peak(field: str) -> float | None:
        return known[field] * 1e12 * count if field in known else None

    return Device(
        name=name,
        count=count,
        memory=memory * count,
        bandwidth=known["memory_bandwidth"] * 1e12 * count,
        two_byte=peak(two_byte),
        two_byte_format=two_byte.removeprefix("peak_").upper(),
        fp8=peak("peak_fp8"),
        fp4=peak("peak_fp4"),
    )


def table() -> "pd.DataFrame":
    """Every device, one of each. Columns: memory (GB), bandwidth (GB/s), two_byte, fp8, fp4 (TFLOP/s; NaN where it has
    none), ridge (FLOP for each byte)."""
    import pandas as pd

    each = [device(name) for name in NAMES]
    rows = [
        {
            "device": NAMES[one.name],
            "memory": one.memory / 1e9,
            "bandwidth": one.bandwidth / 1e9,
            "two_byte": one.two_byte / 1e12,
            "fp8": one.fp8 and one.fp8 / 1e12,
            "fp4": one.fp4 and one.fp4 / 1e12,
            "ridge": one.ridge,
        }
        for one in each
    ]
    return pd.DataFrame(rows).set_index("device").astype(float)
