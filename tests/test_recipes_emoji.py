"""The recipes of text to image, tiny: each trains, is shipped and loaded, and draws no
held-out pair.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch

from course_lib import weights
from course_lib.__main__ import main
from course_lib.data.emoji import emoji
from course_lib.models import (
    AutoencoderConfig,
    CLIPConfig,
    ImageClassifierConfig,
    ImageConfig,
    TextConfig,
    TextUNetConfig,
)
from course_lib.recipes import emoji_data, recipe, sd_emoji
from course_lib.recipes.emoji_clip import TEXT_TOKENS
from course_lib.runs import begin, run
from course_lib.weights import load_weights

IMAGE = ImageConfig(widths=(8, 8), groups=4)
TEXT = TextConfig(width=16, layers=1, heads=2, **TEXT_TOKENS)
TINY = {
    "emoji-autoencoder": AutoencoderConfig(widths=(8, 8, 8), blocks=1, groups=4),
    "emoji-clip": CLIPConfig(TEXT, IMAGE, dim=8),
    "emoji-judge": CLIPConfig(TEXT, IMAGE, dim=8),
    "emoji-style": ImageClassifierConfig(IMAGE),
    "sd-emoji": TextUNetConfig(
        widths=(8, 16), blocks=1, attention=(True, True), heads=2, context_dim=16, groups=4
    ),
}


def tiny(name: str):
    whole = recipe(name)
    return dataclasses.replace(whole, config=TINY[name], batch_size=16)


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Every fortieth image, and an empty folder of weights."""
    data = emoji()
    rows = np.arange(0, len(data.concept), 40)
    parts = {
        key: getattr(data, key)[rows] for key in ("images", "concept", "style", "held_out")
    }
    small = dataclasses.replace(data, **parts)
    for module in ("emoji_data", "emoji_autoencoder", "emoji_clip", "emoji_style", "sd_emoji"):
        monkeypatch.setattr(f"course_lib.recipes.{module}.emoji", lambda: small)
    monkeypatch.setattr("course_lib.metrics.clip_score.emoji", lambda: small)
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr("course_lib.runs.WEIGHTS", tmp_path / "weights")
    return small


def test_all_parts_train_one_after_another(few, tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    for name in TINY:
        run(tiny(name), steps=2, folder=tmp_path / name, out=folder, log=lambda row: None)
        card = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        assert card["figures"] and card["images_seen"] == 32
        module = load_weights(name, device="cpu")
        assert module.config == TINY[name]  # a config with configs in it comes back too
    assert card["figures"]["n"] == few.held_out.sum()
    assert {"clip_score", "clip_score_real", "style_accuracy"} <= card["figures"].keys()
    check_maker(tiny("sd-emoji"), module)
    check_command_line(tmp_path, monkeypatch)


def check_command_line(folder, monkeypatch):
    """Prompts from a file come back as pictures in its order."""
    monkeypatch.setattr("course_lib.recipes.recipe_of", tiny)
    (folder / "prompts.txt").write_text("robot, openmoji style\n火箭\n", encoding="utf-8")
    words = ["sample", "sd-emoji", "--calls", "4", "--prompts", str(folder / "prompts.txt")]
    assert main([*words, "--out", str(folder / "x.npz")]) == 0
    with np.load(folder / "x.npz") as made:
        assert made["images"].shape == (2, 3, 64, 64) and made["images"].dtype == np.uint8
        assert made["texts"].tolist() == ["robot, openmoji style", "火箭"]
    words = ["sample", "sd-emoji", "--calls", "4", "--prompt", "🚀", "--n", "1"]
    assert main([*words, "--out", str(folder / "x.png")]) == 0


def check_maker(kind, module):
    """A picture depends on its own place, seed and prompt, and any prompt gives one."""
    maker = kind.maker(module, "sd-emoji", calls=4)
    hostile = ["", "火箭，twemoji 风格", "x" * 10_000, "🚀\x00\u200d", "robot, openmoji style"]
    images, shown = maker.make(5, 3, hostile)
    assert images.shape == (5, 3, 64, 64) and images.abs().max() <= 1
    assert shown == hostile
    alone, _ = maker.make(1, 3, hostile[:1])
    torch.testing.assert_close(alone, images[:1], rtol=0, atol=0.05)
    with pytest.raises(ValueError, match="5 prompts"):
        maker.make(5, 3, hostile[:2])


@pytest.mark.parametrize("name", ["emoji-autoencoder", "emoji-clip", "emoji-style"])
def test_no_held_out_pair_is_drawn(few, name):
    _, made = begin(tiny(name))
    seen = torch.cat([next(made.batches) for _ in range(3 * len(few.concept) // 16)])
    assert set(seen.tolist()) == set(few.rows("train").tolist()) or len(seen) < 600
    assert not few.held_out[seen.numpy()].any()


def test_captions_are_of_their_images(few):
    tokens, styled = emoji_data.caption_table(few, 2, seed=0, bare=0.5)
    assert tokens.shape == (len(few.concept), 4, 32) and styled.shape == (len(few.concept), 4)
    from course_lib.data.emoji import STYLES
    from course_lib.text import tokenizer

    for row in (0, 100, 200):
        for place in range(4):
            text = tokenizer().decode(tokens[row, place])
            assert (STYLES[few.style[row]] in text) == styled[row, place].item()


def test_moved_keeps_a_picture_that_no_draw_moves(few):
    from course_lib.draws import Draws

    x = emoji_data.to_images(torch.from_numpy(few.images[:4]))
    still = emoji_data.moved(
        x, Draws(0), flip=torch.zeros(4, dtype=torch.bool), zoom=0, shift=0, turn=0
    )
    torch.testing.assert_close(still, x, rtol=0, atol=1e-5)
    mirrored = emoji_data.moved(
        x, Draws(0), flip=torch.ones(4, dtype=torch.bool), zoom=0, shift=0, turn=0
    )
    for one, as_it_was in zip(mirrored, x, strict=True):
        assert min((one - as_it_was).abs().max(), (one - as_it_was.flip(2)).abs().max()) < 1e-4
    white = emoji_data.moved(torch.ones(2, 3, 64, 64), Draws(0), flip=torch.ones(2).bool())
    torch.testing.assert_close(white, torch.ones(2, 3, 64, 64))


def test_sd_emoji_reads_prompts_from_a_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("robot, openmoji style\n\n火箭\n", encoding="utf-8")
    kind = sd_emoji.RECIPE
    assert kind.conditions(64, prompts=path) == ["robot, openmoji style", "", "火箭"]
    assert kind.conditions(2, prompt="a") == ["a", "a"] and kind.conditions(2) is None
    for wrong in ({"prompt": "a", "prompts": path}, {"prompts": tmp_path / "none.txt"}):
        with pytest.raises(ValueError):
            kind.conditions(2, **wrong)


def test_weights_fit_the_limits():
    sizes = {}
    for name in TINY:
        whole = recipe(name)
        with torch.device("meta"):
            from course_lib.models import MODELS

            cls = next(c for c, config in MODELS.values() if type(whole.config) is config)
            sizes[name] = 2 * sum(p.numel() for p in cls(whole.config).parameters())
    assert sizes.pop("sd-emoji") < 34e6
    assert sum(sizes.values()) < 20e6
