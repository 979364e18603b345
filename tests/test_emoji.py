"""The captioned emoji: the files, the split that no training may cross, and the prompts."""

import hashlib
import shutil

import numpy as np
import pytest

from course_lib.__main__ import main
from course_lib.data import emoji as module
from course_lib.data.emoji import (
    FILES,
    LANGUAGES,
    STYLES,
    emoji,
    is_held_out,
    prompt,
    prompts_of,
    sentence_vectors,
    style_of,
    without_style,
)
from course_lib.draws import Draws
from course_lib.errors import CourseError


def test_shapes_and_counts():
    data = emoji()
    assert data.images.shape == (10_381, 3, 64, 64) and data.images.dtype == np.uint8
    assert not data.images.flags.writeable
    assert data.concept.shape == data.style.shape == data.held_out.shape == (10_381,)
    assert len(data.concepts) == 1644
    counts = np.bincount(data.style).tolist()
    assert counts == [1644, 1212, 1586, 1562, 1644, 1089, 1644]
    pairs = set(zip(data.concept.tolist(), data.style.tolist(), strict=True))
    assert len(pairs) == 10_381  # each image is another pair


def test_the_held_out_pairs_are_those_of_the_rule():
    data = emoji()
    by_rule = [
        hashlib.sha256(f"{data.concepts[c].hex}/{STYLES[s]}".encode()).hexdigest()[:2] < "1a"
        for c, s in zip(data.concept, data.style, strict=True)
    ]
    assert data.held_out.tolist() == by_rule and sum(by_rule) == 1055
    train, test = data.rows("train"), data.rows("test")
    assert len(train) == 9326 and len(test) == 1055 and not set(train) & set(test)
    assert is_held_out("1F600", "noto") == (hashlib.sha256(b"1F600/noto").digest()[0] < 0x1A)
    # every style is known from other concepts, and nearly every concept from other styles
    assert set(data.style[train]) == set(range(7))
    assert len(set(data.concept[train])) > 1600
    with pytest.raises(ValueError, match="no split"):
        data.rows("valid")


def test_held_out_concepts():
    held = [concept.hex for concept in emoji().concepts if concept.held_out]
    assert len(held) == 78
    splits = [concept.split for concept in emoji().concepts]
    counts = {split: splits.count(split) for split in ("train", "valid", "test")}
    assert counts == {"train": 1479, "valid": 87, "test": 78}
    assert all(concept.held_out == (concept.split == "test") for concept in emoji().concepts)


def test_sentence_vectors_are_unit_rows():
    vectors = sentence_vectors()
    assert vectors.shape == (1644, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose((vectors**2).sum(axis=1), 1, atol=5e-3)


def test_pictures_stand_on_white_and_differ():
    data = emoji()
    corners = data.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).mean() > 0.9
    digests = {hashlib.sha256(image.tobytes()).digest() for image in data.images[::7]}
    assert len(digests) > 0.99 * len(data.images[::7])


def test_plain_prompts():
    data = emoji()
    robot = next(concept for concept in data.concepts if concept.name == "robot")
    assert prompt(robot, "openmoji") == "robot, openmoji style"
    assert prompt(robot, "openmoji", "zh") == f"{robot.name_zh}，openmoji 风格"
    assert prompt(robot, None) == "robot"
    with pytest.raises(ValueError, match="language"):
        prompt(robot, "noto", "fr")
    texts = prompts_of(data, [0, 1])
    assert texts[0] == "grinning face, noto style" and len(texts) == 2


def test_a_prompt_without_its_style():
    for language in ("en", "zh"):
        for concept in emoji().concepts:
            bare = prompt(concept, None, language)
            assert without_style(prompt(concept, "noto-v1", language)) == bare
            assert without_style(bare) == bare
    for text in (
        "",
        "style",
        ",",
        " style",
        "a, b",
        "hair style",
        "noto style",
        "，" * 10_000,
    ):
        assert without_style(text) == text
    assert without_style("robot: metal, toy ,  oil painting style ") == "robot: metal, toy"
    assert without_style("robot, style") == "robot, style"


def test_the_style_that_a_prompt_names():
    concept = emoji().concepts[0]
    for k, style in enumerate(STYLES):
        for language in LANGUAGES:
            assert style_of(prompt(concept, style, language)) == k
            assert style_of(prompt(concept, None, language)) is None
    assert style_of("robot,  noto style ") == STYLES.index("noto")
    for same in (
        "Noto style",
        "NOTO Style",
        "ｎｏｔｏ style",
        "noto\u00a0style",
        "noto\tstyle\u200b",
    ):
        assert style_of("robot, " + same) == STYLES.index("noto")
        assert without_style("Robot, " + same) == "Robot"
    for text in ("", "noto", "noto style", "robot, oil painting style", "robot, style", "，"):
        assert style_of(text) is None


def test_drawn_prompts_vary_and_stay_true():
    concept = emoji().concepts[0]
    for language in LANGUAGES:
        tags = concept.tags if language == "en" else concept.tags_zh
        name = concept.name if language == "en" else concept.name_zh
        draws = Draws(0)
        texts = {prompt(concept, "noto", language, draws) for _ in range(60)}
        assert len(texts) > 10
        for text in texts:
            assert "noto" in text
            assert name in text or any(tag in text for tag in tags)
    again = Draws(0)
    first = [prompt(concept, "noto", "en", again) for _ in range(5)]
    again = Draws(0)
    assert first == [prompt(concept, "noto", "en", again) for _ in range(5)]


def test_the_share_alike_style_has_its_folder_and_licence():
    assert FILES["openmoji"][0].startswith("openmoji/")
    text = (module.FOLDER / "openmoji" / "LICENCE.md").read_text(encoding="utf-8")
    assert "CC BY-SA 4.0" in text and "OpenMoji" in text


def test_files_have_the_hashes_that_the_readme_states():
    readme = (module.FOLDER.parent / "README.md").read_text(encoding="utf-8")
    for name, digest in [*FILES.values(), module.CAPTIONS]:
        data = (module.FOLDER / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert digest in readme
    assert module.RAW_SHA256 in readme
    tokens = (module.FOLDER / "tokenizer.json").read_bytes()
    assert hashlib.sha256(tokens).hexdigest() in readme


def test_an_altered_file_is_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "captions.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="is not the file that the course ships"):
        module._read(*module.CAPTIONS)
    with pytest.raises(ValueError, match="No such file"):
        module._read("noto.webp", "0")


def test_a_cache_that_cannot_be_written_costs_memory_and_a_warning(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(module, "cache_folder", lambda: blocked / "below")
    with pytest.warns(UserWarning, match="stay in memory"):
        raw = module._raw_bytes([1644, 1212, 1586, 1562, 1644, 1089, 1644])
    assert hashlib.sha256(raw).hexdigest() == module.RAW_SHA256


def test_a_damaged_cache_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    path = tmp_path / f"emoji-{module.RAW_SHA256[:16]}.bin"
    path.write_bytes(b"short")
    raw = module._raw_bytes([1644, 1212, 1586, 1562, 1644, 1089, 1644])
    assert path.stat().st_size == module.RAW_BYTES and isinstance(raw, np.memmap)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "captions.json", "minilm.safetensors", "openmoji/openmoji.webp"]
)
def test_every_packed_file_is_verified(name, tmp_path, monkeypatch, capsys):
    module.verify_emoji()
    folder = tmp_path / "emoji"
    shutil.copytree(module.FOLDER, folder)
    (folder / name).write_bytes(b"no emoji")
    monkeypatch.setattr(module, "FOLDER", folder)
    with pytest.raises(CourseError, match="git checkout -- assets/emoji"):
        module.verify_emoji()
    assert main(["verify"]) == 1
    assert name in capsys.readouterr().err
