"""Stable Diffusion 1.x as published, in the course's own classes.

One table of names a model, made from its config: our key on the left, the key of `diffusers`
or `transformers` on the right. Everything else here reads a folder with it.
"""

from collections.abc import Iterable

from torch import nn

from course_lib.errors import CourseError
from course_lib.models.autoencoder import Autoencoder, AutoencoderConfig
from course_lib.models.clip import TextConfig, TextTower
from course_lib.models.text_unet import TextUNet, TextUNetConfig

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


def translate(module: nn.Module, theirs: dict, source: str = "the weights") -> dict:
    """Their state under our keys, every shape checked against the module (which may be on the
    `meta` device). CourseError says what is missing, too much, or of another shape.
    """
    prefix = "text_model."  # of published text encoders
    theirs = {key.removeprefix(prefix): value for key, value in theirs.items()}
    theirs.pop("embeddings.position_ids", None)  # 0, 1, 2 ... in older files
    ours, table = module.state_dict(), keys(module)
    _refuse(set(table.values()) - theirs.keys(), "lacks", module, source)
    _refuse(theirs.keys() - set(table.values()), "has more than is known:", module, source)
    for key, name in table.items():
        if theirs[name].shape != ours[key].shape:
            raise CourseError(
                f"{source}: {name} is {list(theirs[name].shape)}, a {type(module).__name__} "
                f"of this config has {list(ours[key].shape)}: these are another model's "
                "weights."
            )
    state = {key: theirs[name] for key, name in table.items()}
    # an autoencoder's scale stands in no weights file of theirs, but in their config
    return {**{key: ours[key] for key in ours.keys() - table.keys()}, **state}


def _refuse(names: Iterable[str], fault: str, module: nn.Module, source: str):
    names = sorted(names)
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise CourseError(
            f"{source} {fault} {names[0]}{more}: not the weights of a "
            f"{type(module).__name__} of this config."
        )
