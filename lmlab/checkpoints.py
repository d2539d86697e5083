"""Load and save models in the Hugging Face checkpoint format: config.json, and safetensors in one file or in shards.

Only safetensors are read: nothing is unpickled, no remote code is run. Whatever is wrong with a checkpoint is named in
one error before any weight is read, and nothing half-loaded is returned.
"""

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from lmlab.configuration import ModelConfig
from lmlab.families import CARDS, PRESETS, from_hf, to_hf
from lmlab.families.layouts import GptOssMXFP4, Layout, PerExpert
from lmlab.files import INDEX, Files, read_json, write_shards
from lmlab.formats import fp8
from lmlab.model import LanguageModel, skeleton
from lmlab.paths import data_path
from lmlab.text.tokenizer import Tokenizer
from lmlab.text.tokenizer import load as load_tokenizer

SHOW_PROGRESS_FROM = 2 * 10**9  # bytes; below, loading takes a second or two


def load(
    source: str | os.PathLike, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> LanguageModel:
    """A model with its trained weights, in eval mode.

    source: a folder with config.json and safetensors; the name of a miniature that lmlab ships; or a Hub id
    "owner/name" (needs the extra lmlab[hub]). dtype None keeps the checkpoint's own; MXFP4 and FP8 weights become
    bf16.

    ValueError names every tensor that is missing, left over or misshapen, and every file that is truncated or no
    safetensors file; FileNotFoundError what is not there. A checkpoint that announces multi-token prediction and holds
    none of it loads without, with a warning.
    """
    folder = _folder(source)
    fields = read_json(folder / "config.json")
    config = from_hf(fields, name=folder.name)
    with Files(folder) as files:
        if config.mtp and not any(name.startswith(f"model.layers.{config.num_hidden_layers}.") for name in files.names):
            warnings.warn(
                f"{folder}: config.json announces multi-token prediction, the weights hold none", stacklevel=2
            )
            config = replace(config, mtp=())
        dtype = dtype or files.model_dtype(fields)
        model = skeleton(config, dtype)
        plan = _plan(model, fields["model_type"], files)
        state = {}
        for name, (layout, shape) in tqdm(plan.items(), desc="loading", disable=files.nbytes < SHOW_PROGRESS_FROM):
            kept = torch.float32 if name.endswith("e_score_correction_bias") else dtype
            state[name] = layout.read(files.get, shape, kept)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.embed_tokens.weight
    return model.to(device).eval()


def tokenizer(source: str | os.PathLike) -> Tokenizer:
    """The tokenizer beside a checkpoint's weights; `source` as in `load`. FileNotFoundError if there is none."""
    return load_tokenizer(_folder(source))


def save(
    model: LanguageModel,
    folder: str | os.PathLike,
    *,
    quantization: str | None = None,
    max_shard_bytes: int = 5 * 10**9,
) -> str:
    """Write config.json and the weights into `folder`; returns the model_type that config.json says.

    That is the family's own, and transformers' class loads the folder with the same logits, wherever such a class can
    express the model; else "lmlab", which only lmlab reads. quantization "mxfp4" (GPT-OSS) stores the experts'
    matrices, "fp8" (DeepSeek) the matrices of attention, MLPs and experts, in the layout of the vendor's release.

    Files are complete before they take their names, so a failure leaves an older checkpoint whole.
    """
    if model.embed_tokens.weight.is_meta:
        raise ValueError("this model was built on the meta device and has no weights to save")
    fields = to_hf(model.config)
    model_type = fields["model_type"]
    families = {None: (model_type,), "mxfp4": ("gpt_oss",), "fp8": ("deepseek_v3", "deepseek_v2")}
    if model_type not in families.get(quantization, ()):
        raise ValueError(
            f"quantization {quantization!r} does not go with model_type {model_type!r}: mxfp4 is for gpt_oss, fp8 for "
            f"deepseek_v3 and deepseek_v2"
        )
    fields.pop("quantization_config", None)
    fields.pop("torch_dtype", None)
    fields["dtype"] = str(model.embed_tokens.weight.dtype).removeprefix("torch.")
    if quantization:
        fields["quantization_config"] = _QUANTIZATION_FIELDS[quantization]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    try:
        write_shards(_file_tensors(model, model_type, quantization), scratch, max_shard_bytes)
        (scratch / "config.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        for old in (*folder.glob("*.safetensors"), *folder.glob(INDEX)):
            old.unlink()
        for new in scratch.iterdir():
            os.replace(new, folder / new.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return model_type


_QUANTIZATION_FIELDS = {
    "mxfp4": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            *("model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"),
        ],
    },
    "fp8": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [fp8.BLOCK, fp8.BLOCK],
    },
}


def layouts(name: str, config: ModelConfig, model_type: str) -> list[Layout]:
    """The ways in which lmlab's tensor `name` may lie in a file of this model_type; the first is how it is written."""
    card = CARDS.get(model_type)
    router = card.router_name if card else "router"
    theirs = name.replace(".mlp.router.", f".mlp.{router}.")
    if theirs.startswith("mtp."):  # one more layer after the last, without copies of the embedding and the head
        _, k, rest = theirs.split(".", 2)
        rest = "shared_head.norm.weight" if rest == "norm.weight" else rest.removeprefix("block.")
        theirs = f"layers.{config.num_hidden_layers + int(k)}.{rest}"
    theirs = theirs if theirs.startswith("lm_head") else f"model.{theirs}"
    return card.experts(theirs) if card and ".mlp.experts." in theirs else [Layout(theirs)]


def _plan(model: LanguageModel, model_type: str, files: Files) -> dict[str, tuple[Layout, tuple[int, ...]]]:
    """Which layout each tensor is read from, after everything that can be wrong has been looked at."""
    plan, problems, used = {}, [*files.problems], set()
    tied = model.config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            used.add(name)
            continue
        shape = tuple(tensor.shape)
        choices = layouts(name, model.config, model_type)
        layout = next(
            (choice for choice in choices if any(file in files.names for file in choice.files(shape))), choices[0]
        )
        plan[name] = layout, shape
        for file, expected in layout.files(shape).items():
            used |= {file, f"{file}_scale_inv"}
            if file not in files.names:
                problems.append(f"missing: {file} {expected}")
            else:
                problems += files.check(file, expected)
    extra = [name for name in sorted(files.names - used) if not _is_spare(name, model.config)]
    problems += [f"not expected: {name} {files.shape(name)}" for name in extra]
    if problems:
        shown = problems[:20] + ([f"and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise ValueError(f"{files.folder} is no checkpoint of its config.json:\n  " + "\n  ".join(shown))
    return plan


def _is_spare(name: str, config: ModelConfig) -> bool:
    """Copies that files may hold beside the weights: MTP's of the embedding and the head, and RoPE's frequencies."""
    in_mtp = any(name.startswith(f"model.layers.{config.num_hidden_layers + k}.") for k in range(len(config.mtp)))
    shared = name.endswith((".embed_tokens.weight", ".shared_head.head.weight"))
    return (in_mtp and shared) or name.endswith("rotary_emb.inv_freq")


def _file_tensors(
    model: LanguageModel, model_type: str, quantization: str | None
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the files, one after another, each made when it is asked for."""
    tied = model.config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        choices = layouts(name, model.config, model_type)
        layout = choices[-1] if quantization == "mxfp4" and isinstance(choices[-1], GptOssMXFP4) else choices[0]
        for file, part in layout.write(tensor.detach().cpu()):
            if quantization == "fp8" and _is_fp8(name, layout):
                values, scale_inv = fp8.quantize_weight(part)
                yield file, values
                yield f"{file}_scale_inv", scale_inv
            else:
                yield file, part


def _is_fp8(name: str, layout: Layout) -> bool:
    in_linear = name.endswith("_proj.weight") or "kv_a_proj_with_mqa" in name
    inside = ".self_attn." in name or ".mlp." in name
    return isinstance(layout, PerExpert) or (inside and in_linear)


def _folder(source: str | os.PathLike) -> Path:
    path = Path(source)
    if path.is_dir():
        return path
    name = str(source)
    if name in PRESETS:
        try:
            return data_path("checkpoints", name)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"lmlab ships no weights of {name}; lmlab.build(lmlab.config({name!r})) gives it random ones"
            ) from error
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise ImportError(f'to load {name} from the Hub: pip install "lmlab[hub]"') from error
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
    raise FileNotFoundError(f"{name} is no folder, no miniature and no Hub id of the form owner/name")
