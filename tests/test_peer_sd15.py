"""Stable Diffusion's three nets against `diffusers` and `transformers`: the same weights, the
same answer.
"""

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.interop import sd15
from course_lib.models.autoencoder import Autoencoder, AutoencoderConfig
from course_lib.models.clip import TextConfig, TextTower
from course_lib.models.text_unet import TextUNet, TextUNetConfig

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

UNETS = {
    "two levels": TextUNetConfig(4, (16, 32), 1, (True, False), 4, 1, 24, 8),
    "sd's pattern": TextUNetConfig(4, (16, 32, 32, 32), 2, (True, True, True, False), 2, 1, 12, 8),
    "deep, all levels": TextUNetConfig(3, (8, 16, 24), 1, (True, True, True), 4, 2, 20, 4),
    "attention below": TextUNetConfig(4, (8, 16), 2, (False, True), 2, 1, 8, 4),
}  # fmt: skip
AUTOENCODERS = {
    "two levels": AutoencoderConfig(3, 4, (16, 32), 1, 8),
    "sd's pattern": AutoencoderConfig(3, 4, (8, 16, 32, 32), 2, 8),
    "grey": AutoencoderConfig(1, 2, (8, 8, 16), 1, 4),
}
TEXTS = {
    "small": TextConfig(50, 12, 16, 2, 2, 49),
    "one head": TextConfig(30, 8, 24, 3, 1, 29),
}


def their_unet(config: TextUNetConfig):
    down = tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in config.attention)
    up = tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention))
    return diffusers.UNet2DConditionModel(
        in_channels=config.channels,
        out_channels=config.channels,
        block_out_channels=config.widths,
        layers_per_block=config.blocks,
        down_block_types=down,
        up_block_types=up,
        cross_attention_dim=config.context_dim,
        attention_head_dim=config.heads,  # their name says otherwise: it is the number of heads
        transformer_layers_per_block=config.depth,
        norm_num_groups=config.groups,
    )


def their_autoencoder(config: AutoencoderConfig):
    levels = len(config.widths)
    return diffusers.AutoencoderKL(
        in_channels=config.channels,
        out_channels=config.channels,
        block_out_channels=config.widths,
        layers_per_block=config.blocks,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=config.latent,
        norm_num_groups=config.groups,
    )


def their_text(config: TextConfig):
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.length,
            hidden_act="quick_gelu",
            bos_token_id=config.end - 1,
            eos_token_id=config.end,
        )
    )


def pair(cls, config, theirs):
    """Our module filled from theirs, both in float64, every parameter away from its start."""
    torch.manual_seed(0)
    theirs = theirs(config).double().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ours = cls(config).double().eval()
    ours.load_state_dict(sd15.translate(ours, theirs.state_dict()))
    return ours, theirs


def close(found: torch.Tensor, expected: torch.Tensor):
    assert found.shape == expected.shape
    assert expected.std() > 1e-2  # else anything is close
    assert (found - expected).abs().max() < 1e-9 * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("name", UNETS)
def test_unet(name):
    config = UNETS[name]
    ours, theirs = pair(TextUNet, config, their_unet)
    x = torch.randn(3, config.channels, 16, 16, dtype=torch.float64)
    cond = torch.randn(3, 7, config.context_dim, dtype=torch.float64)
    t = torch.tensor([0, 501, 999])
    with torch.no_grad():
        close(ours(x, t, cond), theirs(x, t, cond).sample)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoder(name):
    config = AUTOENCODERS[name]
    ours, theirs = pair(Autoencoder, config, their_autoencoder)
    x = torch.randn(2, config.channels, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        posterior = theirs.encode(x).latent_dist
        mean, std = ours.posterior(x)
        close(mean, posterior.mean)
        close(std, posterior.std)
        close(ours.decode(mean), theirs.decode(mean).sample)


@pytest.mark.parametrize("name", TEXTS)
def test_text(name):
    config = TEXTS[name]
    ours, theirs = pair(TextTower, config, their_text)
    tokens = torch.randint(config.end - 1, (4, config.length))
    for row, place in enumerate([1, 3, config.length - 1, config.length - 2]):
        tokens[row, place:] = config.end
    with torch.no_grad():
        states, found = ours(tokens), theirs(tokens)
        close(states, found.last_hidden_state)
        close(ours.at_end(tokens, states), found.pooler_output)


@pytest.mark.parametrize(
    "cls, config, theirs",
    [
        (TextUNet, UNETS["sd's pattern"], their_unet),
        (Autoencoder, AUTOENCODERS["sd's pattern"], their_autoencoder),
        (TextTower, TEXTS["small"], their_text),
    ],
)
def test_each_key_of_ours_has_one_of_theirs(cls, config, theirs):
    table = sd15.keys(cls(config))
    state = theirs(config).state_dict()
    assert len(set(table.values())) == len(table)
    assert set(table.values()) == set(state)


def test_the_defaults_are_the_published_sizes():
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in cls().parameters())
            for cls in (TextUNet, Autoencoder, TextTower)
        ]
    assert sizes == [859_520_964, 83_653_863, 123_060_480]


def test_published_text_encoders_have_a_prefix():
    config = TEXTS["small"]
    state = their_text(config).state_dict()
    prefixed = {f"text_model.{key}": value for key, value in state.items()}
    prefixed["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    ours = TextTower(config)
    assert sd15.translate(ours, prefixed).keys() == ours.state_dict().keys()


def test_what_does_not_fit_is_a_sentence():
    config = TEXTS["small"]
    state = their_text(config).state_dict()
    ours = TextTower(config)
    less, other = dict(state), dict(state)
    del less["final_layer_norm.bias"]
    with pytest.raises(CourseError, match="lacks final_layer_norm.bias"):
        sd15.translate(ours, less)
    with pytest.raises(CourseError, match="has more than is known: x"):
        sd15.translate(ours, {**state, "x": torch.zeros(1)})
    other["final_layer_norm.bias"] = torch.zeros(3)
    with pytest.raises(CourseError, match=r"is \[3\].*another model"):
        sd15.translate(ours, other)


def test_attention_as_it_was_published():
    config = AUTOENCODERS["two levels"]
    state = their_autoencoder(config).state_dict()
    now = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, value in state.items():
        for new, before in now.items():
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{before}.")
        old[key] = value
    assert old.keys() != state.keys()
    ours = Autoencoder(config)
    found = sd15.translate(ours, old)
    assert all(torch.equal(found[k], v) for k, v in sd15.translate(ours, state).items())


# ---- the folder


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A pipeline's folder with small nets, as their own packages write it."""
    configs = {
        "unet": (UNETS["sd's pattern"], their_unet),
        "vae": (AUTOENCODERS["sd's pattern"], their_autoencoder),
        "text_encoder": (TEXTS["small"], their_text),
    }
    parts = {}
    for part, (config, theirs) in configs.items():
        cls, _, stem, name = sd15.PARTS[part]
        monkeypatch.setitem(sd15.PARTS, part, (cls, config, stem, name))
        parts[part] = theirs(config).eval()
        parts[part].save_pretrained(tmp_path / part)
    return tmp_path, parts


def test_each_part_of_a_folder_is_loaded(small):
    folder, theirs = small
    for part, module in theirs.items():
        ours = sd15.load_part(folder, part)
        for key, name in sd15.keys(ours).items():
            assert torch.equal(ours.state_dict()[key], module.state_dict()[name])
        assert not any(p.is_meta for p in ours.parameters()) and not ours.training
    assert (
        sd15.load_part(folder, "unet", dtype=torch.float16).stem.weight.dtype == torch.float16
    )
    autoencoder = sd15.load_part(folder, "vae")
    assert autoencoder.latent_std.tolist() == pytest.approx([1 / 0.18215] * 4)


def test_what_is_wrong_with_a_folder_is_a_sentence(small):
    folder, _ = small
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CourseError, match="no whole safetensors"):
        sd15.load_part(folder, "unet")
    weights.unlink()
    with pytest.raises(CourseError, match="is missing: get the whole folder"):
        sd15.load_part(folder, "unet")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CourseError, match="pickled"):
        sd15.load_part(folder, "unet")
    other = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(other.read_bytes())
    with pytest.raises(CourseError, match="lacks|more than"):
        sd15.load_part(folder, "unet")
    config = folder / "vae" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("AutoencoderKL", "VQModel"))
    with pytest.raises(CourseError, match="VQModel"):
        sd15.load_part(folder, "vae")
    config.write_text("{")
    with pytest.raises(CourseError, match="damaged"):
        sd15.load_part(folder, "vae")
    with pytest.raises(CourseError, match="cannot be read"):
        sd15.load_part(folder / "nowhere", "text_encoder")
