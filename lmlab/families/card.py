"""What a family's card is: how its config.json is read and written, and which fields of it mean what.

Each field of a config.json is of one of these kinds: *used* (it shapes the model), *required* (used, and an error when
missing), *fixed* (lmlab has only this value; any other is refused) or *inert* (kept, and written back). *Derived* ones
follow from the others and are written anew by whoever needs them: kept, they would contradict a changed model. A field
of no kind is unknown: it is kept with a warning that names the nearest known one.
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
_MAY_BE_ZERO = ("q_lora_rank", "n_shared_experts", "intermediate_size")
_MAY_BE_NULL = ("q_lora_rank", "n_shared_experts", "sliding_window")


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
    derived: tuple[str, ...] = ()
    presets: dict[str, Fields] = field(default_factory=dict)
    read: Callable[[Fields], ModelConfig]
    write: Callable[[ModelConfig], Fields]
    router_name: str = "gate"
    experts: Callable[[str], list[Layout]] = hub_experts

    def from_hf(self, fields: Fields, name: str = "") -> ModelConfig:
        """ValueError names the field that is missing, refused or no sensible size; an unknown one is a warning."""
        used = {*self.required, *self.optional}
        known = {*used, *self.fixed, *self.inert, *self.derived, *COMMON_FIXED, *COMMON_INERT}
        unknown = [key for key in fields if key not in known]
        missing = [
            key for key in self.required if fields.get(key) is None and not (key in fields and key in _MAY_BE_NULL)
        ]
        if missing:
            raise ValueError(f"{self.model_type} config: missing {_list(missing)}{_misspelt(missing, unknown)}")
        for key in unknown:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.warn(
                f"{self.model_type} config: unknown field {key} is kept but changes nothing{hint}", stacklevel=3
            )
        for key, allowed in (COMMON_FIXED | self.fixed).items():
            if fields.get(key, allowed[0]) not in allowed and not (fields[key] is None and key in self.optional):
                raise ValueError(
                    f"{self.model_type} config: {key}={fields[key]!r} is not supported, only "
                    f"{' or '.join(map(repr, allowed))} is"
                )
        _check_sizes(self.model_type, {key: value for key, value in fields.items() if key in used})
        config = self._read(fields)
        dropped = {*self.write(config), *self.derived, "rope_parameters", "model_type"}
        return replace(config, name=name, inert={k: v for k, v in fields.items() if k not in dropped})

    def _read(self, fields: Fields) -> ModelConfig:
        given = {key: value for key, value in fields.items() if value is not None or key not in self.optional}
        return replace(self.read(self.optional | given), model_type=self.model_type, inert=dict(fields))

    def to_hf(self, config: ModelConfig) -> Fields:
        """The fields of config.json. ValueError when this family cannot express the configuration."""
        try:
            fields = self.write(config)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # unknown fields were named on the way in
                same = self._read(config.inert | fields) == replace(config, model_type=self.model_type)
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
        least = 0 if key in _MAY_BE_ZERO else 1
        if key.endswith(_SIZES) and value is not None and (type(value) is not int or value < least):
            raise ValueError(f"{model_type} config: {key}={value!r} must be a whole number, {least} or more")


def write_dense_width(config: ModelConfig) -> Fields:
    """`intermediate_size`, the width of the dense layers. A model without any keeps the one that its file names."""
    width = next((block.mlp.intermediate_size for block in config.blocks if isinstance(block.mlp, MLPConfig)), None)
    if width is None:
        return {} if "intermediate_size" in config.inert else {"intermediate_size": 0}
    return {"intermediate_size": width}


def read_windows(fields: Fields, window: int | None, default: list[str]) -> list[int | None]:
    """The sliding window of each layer, None where it attends to everything, from `layer_types` or the family's own
    default."""
    layers, kinds = fields["num_hidden_layers"], fields["layer_types"] or default
    if len(kinds) != layers:
        raise ValueError(f"layer_types has {len(kinds)} entries for num_hidden_layers={layers}")
    for i, kind in enumerate(kinds):
        if kind not in ("full_attention", "sliding_attention"):
            raise ValueError(f"layer_types[{i}] is {kind!r}: full_attention and sliding_attention are supported")
    if window is not None and (type(window) is not int or window < 1):
        raise ValueError(f"sliding_window={window!r} must be a whole number, 1 or more")
    if window is None and "sliding_attention" in kinds:
        raise ValueError("layer_types names sliding_attention, but no sliding_window is in use: give its width")
    return [window if kind == "sliding_attention" else None for kind in kinds]


def read_rope(fields: Fields, default_theta: float, interleaved: bool = False) -> RoPEConfig:
    """From `rope_theta` and `rope_scaling` (the files on the Hub) or `rope_parameters` (transformers 5)."""
    parameters = dict(fields.get("rope_parameters") or fields.get("rope_scaling") or {})
    theta = parameters.pop("rope_theta", None) or fields.get("rope_theta") or default_theta
    method = parameters.pop("rope_type", None) or parameters.pop("type", None) or "default"
    parameters.pop("type", None)  # some files carry both spellings
    if method == "default":
        return RoPEConfig(rope_theta=float(theta), interleaved=interleaved)
    needed = {"linear": ("factor",), "yarn": ("factor", "original_max_position_embeddings")}.get(method, ())
    missing = [key for key in needed if parameters.get(key) is None]
    if missing:
        raise ValueError(f"rope_scaling of type {method}: missing {_list(missing)}")
    if method == "linear":
        scaling = PositionInterpolation(factor=parameters["factor"])
    elif method == "yarn":
        names = YaRN.__dataclass_fields__
        unknown = [key for key in parameters if key not in names]
        if unknown:
            warnings.warn(f"rope_scaling: unknown field {_list(unknown)} changes nothing", stacklevel=4)
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
