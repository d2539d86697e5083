"""What a family's card is: how its config.json is read and written, and which fields of it mean what.

Each field of a config.json is one of four kinds: *used* (it shapes the model), *required* (used, and an error when
missing), *fixed* (lmlab has only this value; any other is refused) or *inert* (kept, and written back). A field of no
kind is unknown: it is kept with a warning that names the nearest known one.
"""

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lmlab.configuration import ModelConfig
from lmlab.families.layouts import Layout, hub_experts
from lmlab.parts.mlp import MLPConfig
from lmlab.parts.rope import PositionInterpolation, RoPEConfig, YaRN

Fields = dict[str, Any]

# in every family's file: about tokens, saving, training or how some library runs the model, never about its shape
COMMON_INERT = frozenset(
    """
    _name_or_path architectures auto_map attn_implementation bos_token_id chunk_size_feed_forward dtype eos_token_id
    id2label is_encoder_decoder label2id model_type name_or_path output_attentions output_hidden_states
    output_router_logits pad_token_id pretraining_tp problem_type quantization_config return_dict router_aux_loss_coef
    rope_parameters rope_scaling rope_theta torch_dtype transformers_version use_cache _attn_implementation
    _experts_implementation
    """.split()
)
COMMON_FIXED = {"attention_dropout": (0.0, None), "hidden_act": ("silu",)}
_SIZES = ("_size", "_heads", "hidden_layers", "_dim", "_rank", "_experts", "_per_tok", "position_embeddings")


@dataclass(frozen=True, kw_only=True)
class Card:
    """One model_type. `presets` are whole config.json files by name; `read` and `write` go between such fields and a
    ModelConfig; `optional` gives used fields their defaults, those of the family's transformers class. `router_name`
    and `experts` say under which names and in which layouts the weights lie in its files."""

    model_type: str
    architecture: str
    required: tuple[str, ...]
    optional: Fields = field(default_factory=dict)
    fixed: dict[str, tuple] = field(default_factory=dict)
    inert: tuple[str, ...] = ()
    presets: dict[str, Fields] = field(default_factory=dict)
    read: Callable[[Fields], ModelConfig]
    write: Callable[[ModelConfig], Fields]
    router_name: str = "gate"
    experts: Callable[[str], list[Layout]] = hub_experts

    def from_hf(self, fields: Fields, name: str = "") -> ModelConfig:
        """ValueError names the field that is missing, refused or no sensible size; an unknown one is a warning."""
        known = {*self.required, *self.optional, *self.fixed, *self.inert, *COMMON_FIXED, *COMMON_INERT}
        unknown = [key for key in fields if key not in known]
        missing = [key for key in self.required if key not in fields]
        if missing:
            raise ValueError(f"{self.model_type} config: missing {_list(missing)}{_misspelt(missing, unknown)}")
        for key in unknown:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.warn(
                f"{self.model_type} config: unknown field {key} is kept but changes nothing{hint}", stacklevel=3
            )
        for key, allowed in (COMMON_FIXED | self.fixed).items():
            if fields.get(key, allowed[0]) not in allowed:
                raise ValueError(
                    f"{self.model_type} config: {key}={fields[key]!r} is not supported, only {allowed[0]!r} is"
                )
        _check_sizes(self.model_type, {k: v for k, v in fields.items() if k in self.required or k in self.optional})
        config = replace(self.read(self.optional | fields), name=name, model_type=self.model_type, inert=dict(fields))
        written = {*self.write(config), "rope_parameters", "model_type"}
        return replace(config, inert={k: v for k, v in fields.items() if k not in written})

    def to_hf(self, config: ModelConfig) -> Fields:
        """The fields of config.json. ValueError when this family cannot express the configuration."""
        try:
            fields = self.write(config)
            same = self.from_hf(config.inert | fields) == replace(config, model_type=self.model_type)
        except (AttributeError, StopIteration, KeyError) as error:  # another family's parts have other fields
            raise ValueError(f"{self.model_type} cannot express this configuration: {error}") from error
        if not same:
            raise ValueError(f"{self.model_type} cannot express this configuration: some part of it has no field there")
        return {"architectures": [self.architecture], "model_type": self.model_type} | config.inert | fields


def _list(names: list[str]) -> str:
    return ", ".join(names)


def _misspelt(missing: list[str], unknown: list[str]) -> str:
    pairs = [(name, difflib.get_close_matches(name, unknown, n=1)) for name in missing]
    return "".join(f" ({near[0]} looks like {name} misspelt)" for name, near in pairs if near)


def _check_sizes(model_type: str, fields: Fields) -> None:
    for key, value in fields.items():
        if value is not None and key.endswith(_SIZES) and (type(value) is not int or value < 0):
            raise ValueError(f"{model_type} config: {key}={value!r} must be a whole number, 0 or more")


def write_dense_width(config: ModelConfig) -> Fields:
    """`intermediate_size`, the width of the dense layers. A model without any keeps the one that its file names."""
    width = next((block.mlp.intermediate_size for block in config.blocks if isinstance(block.mlp, MLPConfig)), None)
    if width is None:
        return {} if "intermediate_size" in config.inert else {"intermediate_size": 0}
    return {"intermediate_size": width}


def read_rope(fields: Fields, default_theta: float, interleaved: bool = False) -> RoPEConfig:
    """From `rope_theta` and `rope_scaling` (the files on the Hub) or `rope_parameters` (transformers 5)."""
    parameters = dict(fields.get("rope_parameters") or fields.get("rope_scaling") or {})
    theta = parameters.pop("rope_theta", None) or fields.get("rope_theta") or default_theta
    method = parameters.pop("rope_type", None) or parameters.pop("type", None) or "default"
    parameters.pop("type", None)  # some files carry both spellings
    if method == "default":
        return RoPEConfig(rope_theta=float(theta), interleaved=interleaved)
    if method == "linear":
        scaling = PositionInterpolation(factor=parameters["factor"])
    elif method == "yarn":
        names = YaRN.__dataclass_fields__
        unknown = [key for key in parameters if key not in names]
        if unknown:
            warnings.warn(f"rope_scaling: unknown field {_list(unknown)} changes nothing", stacklevel=4)
        missing = [key for key in ("factor", "original_max_position_embeddings") if parameters.get(key) is None]
        if missing:
            raise ValueError(f"rope_scaling of type yarn: missing {_list(missing)}")
        scaling = YaRN(**{k: v for k, v in parameters.items() if k in names and v is not None})
    else:
        raise ValueError(f"rope_scaling type {method!r} is not supported: default, linear and yarn are")
    return RoPEConfig(rope_theta=float(theta), interleaved=interleaved, scaling=scaling)


def write_rope(rope: RoPEConfig) -> Fields:
    """`rope_theta` and `rope_scaling`, which every version of transformers reads. ValueError for NTK and ABF, which
    config.json cannot name."""
    scaling = rope.scaling
    if scaling is None:
        written = None
    elif isinstance(scaling, PositionInterpolation):
        written = {"rope_type": "linear", "factor": scaling.factor}
    elif isinstance(scaling, YaRN):
        values = {k: getattr(scaling, k) for k in YaRN.__dataclass_fields__}
        written = {"rope_type": "yarn"} | {k: v for k, v in values.items() if v is not None}
    else:
        raise ValueError(f"config.json has no name for {type(scaling).__name__}")
    return {"rope_theta": rope.rope_theta, "rope_scaling": written}
