"""lmlab: how GPT-OSS, Qwen3 and DeepSeek-V3 are engineered, as code to read and models to run.

The public names are imported when first used, so that `import lmlab` is quick.
"""

from importlib import import_module

_PUBLIC = {
    "presets": "lmlab.measure.sizes",
    "config": "lmlab.families",
    "diff": "lmlab.configuration",
    "build": "lmlab.model",
    "load": "lmlab.checkpoints",
    "save": "lmlab.checkpoints",
    "tokenizer": "lmlab.checkpoints",
    "generate": "lmlab.generation",
    "Trace": "lmlab.trace",
    "variant": "lmlab.interventions",
    "intervene": "lmlab.interventions",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lmlab' has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_PUBLIC[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
