"""The tokenizer: it is that of the `tokenizers` package, and any text gives a row."""

import pytest
import torch
from tokenizers import Tokenizer as Fast

from course_lib.data.emoji import STYLES, emoji, prompt
from course_lib.text import FILE, LENGTH, VOCABULARY, tokenizer, train_tokenizer


def test_rows_have_a_start_the_text_and_ends():
    own = tokenizer()
    row = own.encode("a slice of pizza, openmoji style")
    assert row.dtype == torch.int64 and row.shape == (LENGTH,)
    plain = Fast.from_file(str(FILE)).encode("a slice of pizza, openmoji style").ids
    assert row.tolist() == [own.start, *plain, *[own.end] * (LENGTH - 1 - len(plain))]
    assert own.tokenizer.get_vocab_size() == VOCABULARY
    assert (own.start, own.end) == (0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "robot, openmoji style",
        "a slice of pizza",
        "火箭,twemoji 风格",
        "🚀 rocket",
        "naïve café",
    ],
)
def test_round_trip(text):
    assert tokenizer().decode(tokenizer().encode(text)) == text


def test_every_plain_prompt_fits_and_comes_back():
    data, own = emoji(), tokenizer()
    texts = [
        prompt(c, s, lang) for c in data.concepts for s in STYLES[::3] for lang in ("en", "zh")
    ]
    rows = own.encode_all(texts)
    assert (rows[:, -1] == own.end).all()
    used = (rows != own.end).sum(dim=1) - 1
    assert used.max() <= LENGTH - 2
    assert rows.unique(dim=0).shape[0] == len(set(texts))  # no two prompts are one


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\x00\x07\x1b[0m", "\ufeff\u200b", "x" * 10_000, "火" * 10_000, "🚀" * 50,
             "٣ ٱلْعَرَبِيَّة", "<|end|>", "<|start|><|end|> robot"]
)  # fmt: skip
def test_any_text_gives_a_row(text):
    row = tokenizer().encode(text)
    assert row.shape == (LENGTH,) and row[0] == 0 and row[-1] == 1
    assert 0 <= row.min() and row.max() < VOCABULARY
    assert isinstance(tokenizer().words(row), list)


def test_nothing_said_is_one_prompt():
    own = tokenizer()
    empty = own.encode("")
    assert empty.tolist() == [0] + [1] * (LENGTH - 1)
    for text in (" ", "\n", "\x00", "\ufeff"):
        assert torch.equal(own.encode(text), empty)


def test_one_form_of_a_text():
    own = tokenizer()
    assert torch.equal(
        own.encode("Robot，OpenMoji  style"), own.encode("robot,openmoji style")
    )


@pytest.mark.parametrize("text", [None, 3, b"robot", ["robot"], "\ud800 half"])
def test_what_is_no_text_is_a_sentence(text):
    with pytest.raises(ValueError, match="prompt"):
        tokenizer().encode(text)


def test_many_at_once_are_the_same_as_one_by_one():
    own, texts = tokenizer(), ["robot", "", "火箭，twemoji 风格"]
    assert torch.equal(own.encode_all(texts), torch.stack([own.encode(t) for t in texts]))
    assert own.encode_all([]).shape == (0, LENGTH)


def test_words_label_the_tokens():
    words = tokenizer().words(tokenizer().encode("robot, openmoji style"))
    assert words[0] == "<|start|>" and words[-1] == " style"
    assert "".join(words[1:]) == " robot, openmoji style"


def test_training_is_repeatable_and_knows_all_bytes():
    made = train_tokenizer(["robot, noto style", "机器人，noto 风格"], 300)
    assert (
        made.to_str()
        == train_tokenizer(["robot, noto style", "机器人，noto 风格"], 300).to_str()
    )
    assert made.decode(made.encode("完全 different ß").ids).strip() == "完全 different ß"
