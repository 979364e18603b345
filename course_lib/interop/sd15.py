"""Stable Diffusion 1.x as published, in the course's own classes.

One table of names a model, made from its config: our key on the left, the key of `diffusers`
or `transformers` on the right. Everything else here reads a folder with it.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from course_lib.configs import from_plain
from course_lib.device import place
from course_lib.errors import CourseError
from course_lib.files import read_json, reading
from course_lib.interop.pipeline import Pipeline, Sampling
from course_lib.models.autoencoder import Autoencoder, AutoencoderConfig
from course_lib.models.clip import TextConfig, TextTower
from course_lib.models.text_unet import TextUNet, TextUNetConfig
from course_lib.text import Tokenizer

UNET, AUTOENCODER, TEXT = TextUNetConfig(), AutoencoderConfig(), TextConfig()

RESIDUAL = {
    "norm1": "norm1",
    "conv1": "conv1",
    "emb": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "skip": "conv_shortcut",
}
ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
PIXEL_ATTENTION = {"norm": "group_norm", **ATTENTION}
BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "norm3": "norm3",
    **{f"self_attention.{a}": f"attn1.{b}" for a, b in ATTENTION.items()},
    **{f"cross_attention.{a}": f"attn2.{b}" for a, b in ATTENTION.items()},
    "feed.inner": "ff.net.0.proj",
    "feed.outer": "ff.net.2",
}
# of the autoencoder's attention, in the files published in 2022
FORMERLY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
TEXT_LAYER = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "inner": "mlp.fc1",
    "outer": "mlp.fc2",
}


def _under(ours: str, theirs: str, table: dict[str, str]) -> dict[str, str]:
    """A layer's names, placed where the layer is."""
    return {f"{ours}.{a}": f"{theirs}.{b}" for a, b in table.items()}


def _transformer(depth: int) -> dict[str, str]:
    table = {"norm": "norm", "inner": "proj_in", "outer": "proj_out"}
    for i in range(depth):
        table |= _under(f"blocks.{i}", f"transformer_blocks.{i}", BLOCK)
    return table


def unet_names(config: TextUNetConfig) -> dict[str, str]:
    """Where each layer of a `TextUNet` is in diffusers' UNet2DConditionModel, both without
    the ending (.weight, .bias).
    """
    levels, read = len(config.widths), _transformer(config.depth)
    table = {
        "embed_time.0": "time_embedding.linear_1",
        "embed_time.2": "time_embedding.linear_2",
        "stem": "conv_in",
        "head.0": "conv_norm_out",
        "head.2": "conv_out",
        **_under("middle.0", "mid_block.resnets.0", RESIDUAL),
        **_under("middle.1", "mid_block.attentions.0", read),
        **_under("middle.2", "mid_block.resnets.1", RESIDUAL),
    }
    place = 0
    for level in range(levels):
        block = f"down_blocks.{level}"
        if level:
            table[f"down.{place}.0.conv"] = f"down_blocks.{level - 1}.downsamplers.0.conv"
            place += 1
        for i in range(config.blocks):
            table |= _under(f"down.{place}.0", f"{block}.resnets.{i}", RESIDUAL)
            if config.attention[level]:
                table |= _under(f"down.{place}.1", f"{block}.attentions.{i}", read)
            place += 1
    place = 0
    for step, level in enumerate(reversed(range(levels))):
        block = f"up_blocks.{step}"
        for i in range(config.blocks + 1):
            table |= _under(f"up.{place}.0", f"{block}.resnets.{i}", RESIDUAL)
            if config.attention[level]:
                table |= _under(f"up.{place}.1", f"{block}.attentions.{i}", read)
            if level and i == config.blocks:
                last = 2 if config.attention[level] else 1
                table[f"up.{place}.{last}.conv"] = f"{block}.upsamplers.0.conv"
            place += 1
    return table


def autoencoder_names(config: AutoencoderConfig) -> dict[str, str]:
    """Where each layer of an `Autoencoder` is in diffusers' AutoencoderKL."""
    levels = len(config.widths)
    table = {"to_posterior": "quant_conv", "from_latent": "post_quant_conv"}
    for side in ("encoder", "decoder"):
        table |= {
            f"{side}.stem": f"{side}.conv_in",
            f"{side}.head.0": f"{side}.conv_norm_out",
            f"{side}.head.2": f"{side}.conv_out",
        }
        middle = f"{side}.mid_block"
        table |= _under(f"{side}.middle.0", f"{middle}.resnets.0", RESIDUAL)
        table |= _under(f"{side}.middle.1", f"{middle}.attentions.0", PIXEL_ATTENTION)
        table |= _under(f"{side}.middle.2", f"{middle}.resnets.1", RESIDUAL)
    for side, move, sampler, blocks in (
        ("encoder", "down", "downsamplers", config.blocks),
        ("decoder", "up", "upsamplers", config.blocks + 1),
    ):
        place = 0
        for level in range(levels):
            block = f"{side}.{move}_blocks.{level}"
            for i in range(blocks):
                table |= _under(f"{side}.{move}.{place}", f"{block}.resnets.{i}", RESIDUAL)
                place += 1
            if level < levels - 1:
                table[f"{side}.{move}.{place}.conv"] = f"{block}.{sampler}.0.conv"
                place += 1
    return table


def text_names(config: TextConfig) -> dict[str, str]:
    """Where each layer of a `TextTower` is in transformers' CLIPTextModel, without the
    `text_model.` that published files put before it.
    """
    table = {
        "tokens": "embeddings.token_embedding",
        "places": "embeddings.position_embedding",
        "norm": "final_layer_norm",
    }
    for i in range(config.layers):
        table |= _under(f"layers.{i}", f"encoder.layers.{i}", TEXT_LAYER)
    return table


NAMES = {Autoencoder: autoencoder_names, TextTower: text_names, TextUNet: unet_names}


def keys(module: nn.Module) -> dict[str, str]:
    """The key of every parameter of our module, and theirs for it."""
    table = NAMES[type(module)](module.config)
    split = [key.rpartition(".") for key, _ in module.named_parameters()]
    return {f"{layer}.{end}": f"{table[layer]}.{end}" for layer, _, end in split}


def matched(module: nn.Module, shapes: dict, source: str = "the weights") -> dict[str, str]:
    """Our keys to those that their state has, from its key -> shape alone, every shape checked
    against the module (which may be on the `meta` device). CourseError says what is missing,
    too much, or of another shape.
    """
    found = {_today(key): key for key in shapes}
    found.pop("embeddings.position_ids", None)  # 0, 1, 2 ... in older files
    ours, table = module.state_dict(), keys(module)
    _refuse(set(table.values()) - found.keys(), "lacks", module, source)
    _refuse(found.keys() - set(table.values()), "has more than is known:", module, source)
    for key, name in table.items():
        if list(shapes[found[name]]) != list(ours[key].shape):
            raise CourseError(
                f"{source}: {name} is {list(shapes[found[name]])}, a {type(module).__name__} "
                f"of this config has {list(ours[key].shape)}: these are another model's "
                "weights."
            )
    return {key: found[name] for key, name in table.items()}


def translate(module: nn.Module, theirs: dict, source: str = "the weights") -> dict:
    """Their state dict under our keys; errors as of `matched`."""
    names = matched(module, {key: value.shape for key, value in theirs.items()}, source)
    ours = module.state_dict()
    # an autoencoder's scale stands in no weights file of theirs, but in their config
    rest = {key: ours[key] for key in ours.keys() - names.keys()}
    return {**rest, **{key: theirs[name] for key, name in names.items()}}


def _today(key: str) -> str:
    """A key as present versions write it: published files are older than they."""
    key = key.removeprefix("text_model.")
    for before, now in FORMERLY.items():
        key = key.replace(
            f".mid_block.attentions.0.{before}.", f".mid_block.attentions.0.{now}."
        )
    return key


def _refuse(names: Iterable[str], fault: str, module: nn.Module, source: str):
    names = sorted(names)
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise CourseError(
            f"{source} {fault} {names[0]}{more}: not the weights of a "
            f"{type(module).__name__} of this config."
        )


# ---- the published folder

# where a part lies, our class for it, and what its config.json must say, if it says anything
PARTS = {
    "unet": (TextUNet, UNET, "diffusion_pytorch_model", "UNet2DConditionModel"),
    "vae": (Autoencoder, AUTOENCODER, "diffusion_pytorch_model", "AutoencoderKL"),
    "text_encoder": (TextTower, TEXT, "model", "CLIPTextModel"),
}


def _described(folder: Path, part: str, name: str) -> dict:
    """A part's config.json, once it says that it is the right kind of model."""
    path = folder / part / "config.json"
    found = read_json(path, "get the folder again")
    with reading(path, "is damaged", "get the folder again"):
        kind = found.get("_class_name") or found.get("architectures", [name])[0]
    if kind != name:
        raise CourseError(f"{path} describes a {kind}, not a {name}: another model.")
    return found


def _weights_file(folder: Path, part: str, stem: str) -> Path:
    """A part's safetensors, of whichever precision; a pickled file is refused unread."""
    found = [folder / part / f"{stem}{ending}.safetensors" for ending in ("", ".fp16")]
    for path in found:
        if path.is_file():
            return path
    if any((folder / part / f"{stem}{ending}.bin").exists() for ending in ("", ".fp16")):
        raise CourseError(
            f"{folder / part} holds pickled weights only (.bin), which may carry code: get "
            f"{found[0].name} of the same model."
        )
    raise CourseError(f"{found[0]} is missing: get the whole folder.")


def _planned(folder: Path, part: str) -> tuple[nn.Module, dict[str, str], Path, dict]:
    """A part on the meta device, our keys to those in its file, the file and its config, once
    every name and shape is right. Only the file's header is read.
    """
    from safetensors import safe_open

    cls, config, stem, name = PARTS[part]
    described, path = _described(folder, part, name), _weights_file(folder, part, stem)
    with torch.device("meta"):  # no memory yet
        module = cls(config)
    with reading(path, "is no whole safetensors file", "get it again"):
        with safe_open(path, framework="pt") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
    return module, matched(module, shapes, str(path)), path, described


def _filled(module: nn.Module, names: dict, path: Path, described: dict, device, dtype):
    """A planned part with its weights, out of the memory-mapped file one by one."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        state = {
            key: file.get_tensor(their).to(device=device, dtype=dtype, copy=True)
            for key, their in names.items()
        }
    if isinstance(module, Autoencoder):
        with reading(path.with_name("config.json"), "is damaged", "get the folder again"):
            spread = 1 / float(described.get("scaling_factor", 0.18215))
        latent = module.config.latent
        kind = torch.promote_types(dtype, torch.float32)
        state["latent_mean"] = torch.zeros(latent, device=device, dtype=kind)
        state["latent_std"] = torch.full((latent,), spread, device=device, dtype=kind)
    module.load_state_dict(state, assign=True)
    return place(module.eval().requires_grad_(False), device)


def load_part(
    folder: str | Path, part: str, device: torch.device | str = "cpu", dtype=torch.float32
) -> nn.Module:
    """One of the three nets, in eval mode: all shapes are checked before any weight is
    read, and no parameter exists twice. CourseError for what is missing or does not fit.
    """
    return _filled(*_planned(Path(folder), part), device, dtype)


def _sampling(folder: Path) -> Sampling:
    """The settings of DDIM in the scheduler's config, whichever scheduler it names.

    What it leaves out is not by the scheduler's defaults but by those that their
    StableDiffusionPipeline puts in their place: latents know no bounds.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    known = {field.name for field in dataclasses.fields(Sampling)}
    found = read_json(path, "get the folder again")
    try:
        said = {key: value for key, value in found.items() if key in known}
        return from_plain(Sampling, {"clip_sample": False, "steps_offset": 1} | said)
    except CourseError as error:
        raise CourseError(f"{path}: {error}") from None


def _tokenizer(folder: Path) -> Tokenizer:
    """CLIP's tokenizer (Radford et al. 2021): from tokenizer.json, or from the vocabulary and
    the merges of the files published first.
    """
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Fast

    place, special = folder / "tokenizer", ("<|startoftext|>", "<|endoftext|>")
    try:
        if (place / "tokenizer.json").is_file():
            made = Fast.from_file(str(place / "tokenizer.json"))
        else:
            made = _byte_pairs(place / "vocab.json", place / "merges.txt")
    except OSError as error:
        raise CourseError(f"{error.filename or place} cannot be read.") from None
    except Exception as error:  # what the tokenizers package raises has no class of its own
        raise CourseError(f"{place} holds no tokenizer that can be read: {error}.") from None
    made.no_padding()
    made.no_truncation()
    size, text = made.get_vocab_size(), PARTS["text_encoder"][1]
    if size > text.vocabulary or made.token_to_id(special[1]) != text.end:
        raise CourseError(f"{place} is not the tokenizer of this text encoder: another model.")
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    return Tokenizer(made, text.length, *special)


def _byte_pairs(vocabulary: Path, merges: Path):
    """CLIP's byte pairs: in lower case, words apart, each word's end marked."""
    from tokenizers import Regex, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Fast

    pairs = models.BPE.read_file(*(str(_present(path)) for path in (vocabulary, merges)))
    end = {"end_of_word_suffix": "</w>", "unk_token": "<|endoftext|>"}
    made = Fast(models.BPE(*pairs, continuing_subword_prefix="", **end))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|"
        r"[^\s\p{L}\p{N}]+"
    )
    split = pre_tokenizers.Split(words, behavior="removed", invert=True)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return made


def _present(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    return path


def load(
    folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Pipeline:
    """The published folder as a pipeline. Everything in it is looked at first, every shape of
    every file, before any weight is read; then each weight is taken once, in `dtype`, from its
    memory-mapped file. CourseError, one sentence, for what is missing, damaged, pickled or of
    another model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"There is no folder {folder}.")
    index = read_json(folder / "model_index.json", "get the folder again")
    kind = index.get("_class_name")
    if kind != "StableDiffusionPipeline":
        raise CourseError(f"{folder} holds a {kind}, not a StableDiffusionPipeline.")
    sampling, tokenizer = _sampling(folder), _tokenizer(folder)
    planned = [_planned(folder, part) for part in ("text_encoder", "unet", "vae")]
    nets = [_filled(*plan, device, dtype) for plan in planned]
    return Pipeline(*nets, tokenizer, sampling)
