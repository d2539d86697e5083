"""A config.json that a reader pastes: a configuration, or an error that names the field."""

import json
import warnings
from typing import Any

from lmlab.configuration import ModelConfig
from lmlab.families import from_hf

NAME = "your config.json"
MOST = {
    "num_hidden_layers": 1_000,
    "num_nextn_predict_layers": 8,
    "num_mtp_layers": 8,
    "experts": 100_000,
    "vocab_size": 10_000_000,
}
_SIZES = ("_size", "_heads", "_layers", "_dim", "_rank", "_experts", "_per_tok", "_group")
_NUMBER, _OBJECT, _LIST, _FLAG = (int, float), dict, list, bool
KINDS = {
    **dict.fromkeys(("rms_norm_eps", "rope_theta", "routed_scaling_factor", "swiglu_limit", "swiglu_alpha"), _NUMBER),
    **dict.fromkeys(("rope_scaling", "rope_parameters", "quantization_config"), _OBJECT),
    **dict.fromkeys(("layer_types", "mlp_only_layers"), _LIST),
    **dict.fromkeys(("tie_word_embeddings", "attention_bias", "norm_topk_prob", "use_sliding_window"), _FLAG),
}
_SAID = {_NUMBER: "a number", _OBJECT: "an object in braces", _LIST: "a list in brackets", _FLAG: "true or false"}


def pasted(text: str) -> tuple[ModelConfig, list[str]]:
    """The configuration, and what was odd about the file but changes nothing. ValueError names the field that is
    missing, misspelt, contradictory, huge or of the wrong kind; or says where the text is not JSON."""
    fields = _parsed(text)
    _check(fields)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            config = from_hf(fields, NAME)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"this config.json has a field that cannot be read: {error}") from error
    method = config.inert.get("quantization_config", {}).get("quant_method", "bf16")
    if method not in ("bf16", "mxfp4", "fp8"):
        raise ValueError(f"quantization_config.quant_method={method!r} is not known here: mxfp4 and fp8 are")
    return config, [str(one.message) for one in caught]


def _parsed(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"what was pasted is not JSON: {error.msg}, at character {error.pos + 1}, near {text[error.pos :][:20]!r}"
        ) from error
    except RecursionError as error:
        raise ValueError("what was pasted is nested too deeply for a config.json") from error
    if not isinstance(fields, dict):
        raise ValueError(f"a config.json is one object in braces; what was pasted is {type(fields).__name__}")
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key come twice, and the last would win in silence."""
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields and fields[key] != value:
            raise ValueError(f"{key} is there twice: {fields[key]!r} and {value!r}")
        fields[key] = value
    return fields


def _check(fields: dict[str, Any]) -> None:
    for key, value in fields.items():
        kind = KINDS.get(key)
        wrong = isinstance(value, bool) if kind is _NUMBER else False
        if kind and value is not None and (wrong or not isinstance(value, kind)):
            raise ValueError(f"{key}={value!r} must be {_SAID[kind]}")
        if kind is _NUMBER and value is not None and not 0 < value < 1e12:
            raise ValueError(f"{key}={value!r} must lie above 0, and below 10^12")
        most = MOST.get("experts" if key.endswith("_experts") else key, 1_000_000)
        if key.endswith(_SIZES) and isinstance(value, int) and value > most:
            raise ValueError(f"{key}={value:,} is too large: this view reads up to {most:,}")
    one, other = fields.get("num_experts"), fields.get("num_local_experts")
    if one and other and one != other:
        raise ValueError(f"num_experts={one!r} and num_local_experts={other!r} are two names for one number")
