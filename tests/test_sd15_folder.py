"""A published folder, made small by `diffusers` and `transformers` themselves: ours runs it as
they do, and says in a sentence what is wrong with one.
"""

import json
import os
import shutil

import pytest
import torch
from PIL import Image

from course_lib.__main__ import main
from course_lib.errors import CourseError
from course_lib.interop import sd15
from course_lib.interop.pipeline import Sampling
from course_lib.models.autoencoder import AutoencoderConfig
from course_lib.models.clip import TextConfig
from course_lib.models.text_unet import TextUNetConfig

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

from test_peer_sd15 import their_autoencoder, their_text, their_unet  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz,.!"
MERGES = [("r", "o"), ("ro", "b"), ("o", "t</w>"), ("c", "a"), ("ca", "t</w>")]
# of the published scheduler_config.json
SCHEDULER = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
TEXTS = ["robot, cat!", "a  CAT <|endoftext|> of robots " * 9]


def their_tokenizer():
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *map("".join, MERGES)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=MERGES, model_max_length=12
    )


SIZE = 2 * len(LETTERS) + len(MERGES) + 2
CONFIGS = {
    "unet": (TextUNetConfig(4, (16, 32), 1, (True, False), 2, 1, 16, 8), their_unet),
    "vae": (AutoencoderConfig(3, 4, (16, 32), 1, 8), their_autoencoder),
    "text_encoder": (TextConfig(SIZE, 12, 16, 2, 2, SIZE - 1), their_text),
}


def write_pipeline(folder, parts: dict, tokenizer):
    """Their three nets as their pipeline writes them, with the published settings."""
    diffusers.StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer,
        scheduler=diffusers.PNDMScheduler(**SCHEDULER, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "clip_sample": False}), encoding="utf-8")


@pytest.fixture
def small(monkeypatch):
    """Our classes for the small parts."""
    for part, (config, _) in CONFIGS.items():
        cls, _, stem, name = sd15.PARTS[part]
        monkeypatch.setitem(sd15.PARTS, part, (cls, config, stem, name))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder as their pipeline writes it."""
    torch.manual_seed(0)
    parts = {part: theirs(config).eval() for part, (config, theirs) in CONFIGS.items()}
    with torch.no_grad():
        for module in parts.values():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("sd")
    write_pipeline(folder, parts, their_tokenizer())
    return folder


@pytest.fixture
def folder(made, tmp_path, small):
    """A copy to be spoilt."""
    return shutil.copytree(made, tmp_path / "folder")


def changed(folder, **settings):
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **settings}), encoding="utf-8")


def theirs_of(folder, dtype):
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype)
    # from the file again: the pipeline's constructor overrules some of its settings
    pipe.scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize(
    "settings, dtype",
    [
        ({}, torch.float64),
        ({}, torch.float32),
        ({"clip_sample": True}, torch.float64),
        ({"set_alpha_to_one": True, "steps_offset": 0}, torch.float64),
        ({"prediction_type": "v_prediction", "beta_schedule": "linear"}, torch.float64),
    ],
    ids=["published", "published, float32", "clipped", "to one", "v"],
)
def test_five_steps_of_ddim_with_guidance(folder, settings, dtype):
    changed(folder, **settings)
    pipe, ours = theirs_of(folder, dtype), sd15.load(folder, dtype=dtype)
    schedule = ours.sampling.schedule()
    torch.testing.assert_close(
        pipe.scheduler.alphas_cumprod.double(), schedule.alpha[1:] ** 2, rtol=1e-5, atol=1e-6
    )
    # theirs is a product of a thousand numbers in float32; with one table for both, the rest
    # is to be equal to rounding
    table = schedule.alpha.to(dtype) ** 2
    pipe.scheduler.alphas_cumprod = table[1:]
    pipe.scheduler.final_alpha_cumprod = table[0 if ours.sampling.set_alpha_to_one else 1]
    z = torch.randn(2, 4, 8, 8, dtype=dtype)
    expected = pipe(
        TEXTS,
        negative_prompt=["cat"] * 2,
        latents=z.clone(),
        num_inference_steps=5,
        guidance_scale=4.5,
        output_type="latent",
        height=16,
        width=16,
    ).images
    *_, last = ours.steps(z, TEXTS, steps=5, guidance=4.5, negative="cat")
    size = 1e-9 if dtype == torch.float64 else 1e-5
    assert expected.std() > 0.1
    assert (last.x_t - expected).abs().max() < size * max(1, expected.abs().max().item())
    with torch.no_grad():
        shown = pipe.vae.decode(expected / pipe.vae.config.scaling_factor).sample.clamp(-1, 1)
    assert (ours.decode(last.x_t) - shown).abs().max() < 10 * size


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_a_scheduler_leaves_out_is_as_in_their_pipeline(folder):
    """DDIM's own defaults would clip latents to [-1, 1]; the published scheduler has none."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("clip_sample", "steps_offset"):
        config.pop(key, None)
    path.write_text(json.dumps(config), encoding="utf-8")
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(folder).scheduler.config
    ours = sd15.load(folder).sampling
    assert ours.clip_sample is theirs.get("clip_sample", False) is False
    assert ours.steps_offset == theirs.steps_offset == 1


@pytest.mark.parametrize("offset, to_one", [(0, False), (0, True), (1, False)])
def test_no_time_stands_twice(offset, to_one):
    times = Sampling(**SCHEDULER | {"steps_offset": offset, "set_alpha_to_one": to_one}).times(
        5
    )
    assert times == sorted(set(times), reverse=True)


@pytest.mark.parametrize("steps", [1, 5, 20, 50, 999])
def test_times_are_theirs(steps):
    scheduler = diffusers.DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(steps)
    times = Sampling(**SCHEDULER).times(steps)
    assert [t - 1 for t in times[:-1]] == scheduler.timesteps.tolist() and times[-1] == 1


def test_tokens_are_theirs(folder):
    texts = [*TEXTS, "", "it's 3 robots!!!", "CATS, cats", "\tcat\n"]
    tokenizer = their_tokenizer()
    expected = tokenizer(
        texts, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
    ).input_ids
    assert torch.equal(sd15.load(folder).tokenizer.encode_all(texts), expected)
    # as it was published first: a vocabulary and its merges
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    vocabulary = tokenizer.get_vocab()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES)]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    assert torch.equal(sd15.load(folder).tokenizer.encode_all(texts), expected)


def test_half_precision(folder):
    ours = sd15.load(folder, dtype=torch.bfloat16)
    assert ours.unet.stem.weight.dtype == torch.bfloat16
    picture = ours.paint("cat", size=16, steps=2)
    assert picture.shape == (3, 16, 16) and picture.dtype == torch.float32


def run(folder, *more) -> int:
    return main(["sd", "--weights", str(folder), "--prompt", "cat", *more])


def test_the_command(folder, tmp_path, capsys):
    out = tmp_path / "x.png"
    assert run(folder, "--out", str(out), "--size", "16", "--steps", "3") == 0
    with Image.open(out) as picture:
        assert picture.size == (16, 16)
    assert "3 steps of DDIM" in capsys.readouterr().out


def spoil(folder, what: str):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    if what == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif what == "missing":
        weights.unlink()
    elif what == "pickled":
        weights.rename(weights.with_suffix(".bin"))
    elif what == "other":
        shutil.copy(folder / "unet" / weights.name, weights)
    elif what == "no tokenizer":
        shutil.rmtree(folder / "tokenizer")
    elif what == "scheduler":
        changed(folder, beta_schedule="squaredcos_cap_v2")
    elif what == "index":
        (folder / "model_index.json").unlink()
    elif what == "xl":
        (folder / "model_index.json").write_text(
            '{"_class_name": "StableDiffusionXLPipeline"}'
        )
    elif what == "no json":
        (folder / "scheduler" / "scheduler_config.json").write_text("[")
    elif what == "folder":
        shutil.rmtree(folder)


WRONG = {
    "truncated": "no whole safetensors file",
    "missing": "is missing: get the whole folder",
    "pickled": "pickled weights only",
    "other": "not the weights of",
    "no tokenizer": "cannot be read",
    "scheduler": "beta_schedule is 'squaredcos_cap_v2'",
    "index": "model_index.json cannot be read",
    "xl": "holds a StableDiffusionXLPipeline",
    "no json": "is damaged",
    "folder": "There is no folder",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_a_sentence_before_any_weight_is_read(
    folder, tmp_path, what, monkeypatch, capsys
):
    """The autoencoder comes last: what is wrong with it is said before the U-Net is read."""
    spoil(folder, what)

    def read(*_):
        raise AssertionError("weights were read")

    monkeypatch.setattr(sd15, "_filled", read)
    assert run(folder, "--out", str(tmp_path / "x.png")) == 1
    said = capsys.readouterr().err
    assert WRONG[what] in said and said.count("\n") == 1
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "options, says",
    [
        ({"size": 30}, "A side is a multiple of 4"),
        ({"steps": 0}, "Ask for 1 to 999 steps"),
        ({"guidance": float("nan")}, "finite number"),
    ],
)
def test_what_cannot_be_asked_for(folder, options, says):
    with pytest.raises(CourseError, match=says):
        sd15.load(folder).paint("cat", **{"size": 16, **options})


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("MARBLE_FULL_SIZE"), reason="20 GiB: asked for by MARBLE_FULL_SIZE=1"
)
@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_at_full_size(part, tmp_path):
    """The exact configuration of SD 1.5, with random weights: float32, 1e-4 of the answer."""
    cls, config, _, _ = sd15.PARTS[part]
    build = {"text_encoder": their_text, "unet": their_unet, "vae": their_autoencoder}[part]
    torch.manual_seed(0)
    theirs = build(config).eval()
    theirs.save_pretrained(tmp_path / part)
    ours = sd15.load_part(tmp_path, part)
    with torch.no_grad():
        if part == "text_encoder":
            tokens = torch.randint(config.end, (1, config.length))
            found, expected = ours(tokens), theirs(tokens).last_hidden_state
        elif part == "unet":
            x, cond = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)
            t = torch.tensor([501])
            found, expected = ours(x, t, cond), theirs(x, t, cond).sample
        else:
            z = torch.randn(1, 4, 64, 64)
            found, expected = ours.decode(z), theirs.decode(z).sample
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
