"""Draws docs/overview.png, the picture of the README, from the full-scale configurations: `make picture`."""

from pathlib import Path

import lmlab
from lmlab.figures.memory import cache_by_length
from lmlab.figures.theme import still
from lmlab.measure import memory

MODELS = ("gpt-oss-120b", "qwen3-235b-a22b", "deepseek-v3")

cache = memory.cache_by_length({name: lmlab.config(name) for name in MODELS}, [2**k for k in range(10, 18)])
message = "117, 235 and 671 billion parameters; at 128K tokens the one in the middle needs the largest cache."
picture = still(cache_by_length(cache, message), alt="")
Path(__file__).with_name("overview.png").write_bytes(picture.png)
