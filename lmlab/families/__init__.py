"""The families' cards, the named configurations on them, and the way in and out of Hugging Face's config.json."""

import json
from pathlib import Path

from lmlab.configuration import ModelConfig, from_dict, to_dict
from lmlab.families import deepseek_v2, deepseek_v3, gpt_oss, qwen3
from lmlab.families.card import Card, Fields

CARDS: dict[str, Card] = {
    card.model_type: card for card in (gpt_oss.CARD, qwen3.CARD, qwen3.CARD_MOE, deepseek_v3.CARD, deepseek_v2.CARD)
}
PRESETS: dict[str, Fields] = {name: fields for card in CARDS.values() for name, fields in card.presets.items()}
MINIATURES = tuple(name for name in PRESETS if name.startswith("mini-"))  # lmlab ships their weights


def config(source: str | Path | Fields) -> ModelConfig:
    """A configuration: by the name of a preset, from the path of a config.json (or its folder), or from its fields.

    ValueError names what is missing, refused or unknown; FileNotFoundError a path that is not there.
    """
    if isinstance(source, dict):
        return from_hf(source)
    if source in PRESETS:
        return from_hf(PRESETS[source], name=str(source))
    path = Path(source)
    path = path / "config.json" if path.is_dir() else path
    if path.suffix != ".json":
        raise ValueError(
            f"no preset is called {str(source)!r}, and it is no config.json; presets: {', '.join(PRESETS)}"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return from_hf(fields, name=path.parent.name)


def from_hf(fields: Fields, name: str = "") -> ModelConfig:
    """The fields of a config.json -> ModelConfig. A vendor's file is taken whole: its inert fields are kept."""
    model_type = fields.get("model_type")
    if model_type == "lmlab":
        return from_dict(fields["lmlab"])
    if model_type not in CARDS:
        raise ValueError(f"model_type {model_type!r} is not one of {', '.join(CARDS)}")
    return CARDS[model_type].from_hf(fields, name)


def to_hf(config: ModelConfig) -> Fields:
    """ModelConfig -> the fields of a config.json: its family's where that can express the model, else lmlab's own."""
    card = CARDS.get(config.model_type)
    if card is not None:
        try:
            return card.to_hf(config)
        except ValueError:
            pass  # a variant that no transformers class has: written as lmlab's own
    return {"model_type": "lmlab", "lmlab": to_dict(config)}
