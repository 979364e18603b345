"""From a text to numbers: a byte-pair tokenizer (Sennrich et al. 2016), trained on the
captions of the course in both languages.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.files import reading

FILE = Path(__file__).resolve().parent.parent / "assets" / "emoji" / "tokenizer.json"
START, END = "<|start|>", "<|end|>"
VOCABULARY, LENGTH = 4096, 32
LONGEST = 2_000  # characters of a prompt that are looked at: far more than LENGTH tokens hold


class Tokenizer:
    """Texts to rows of LENGTH tokens: start, the text, and the end token to fill the row.

    As in Stable Diffusion, what pads a row is the end token again; the first one counts.
    """

    def __init__(self, tokenizer, length: int, start: str = START, end: str = END):
        self.tokenizer, self.length = tokenizer, length
        self.start, self.end = (tokenizer.token_to_id(token) for token in (start, end))

    def encode_all(self, texts: Iterable[str]) -> Tensor:
        """Texts to tokens int64 [N, length]; what is too long is cut."""
        texts = [_checked(text) for text in texts]
        rows = [
            [self.start, *found.ids[: self.length - 2], self.end]
            for found in self.tokenizer.encode_batch(texts, add_special_tokens=False)
        ]
        padded = [row + [self.end] * (self.length - len(row)) for row in rows]
        return torch.tensor(padded, dtype=torch.int64).reshape(-1, self.length)

    def encode(self, text: str) -> Tensor:
        """One text to tokens int64 [length]. Any text gives a result; CourseError where it is
        no text, or holds half a character.
        """
        return self.encode_all([text])[0]

    def words(self, tokens: Tensor) -> list[str]:
        """What each token of a row [length] stands for, readable, up to the first end token:
        the labels beside a picture of attention.
        """
        names = []
        for token in tokens.tolist():
            if token == self.end:
                break
            names.append(self.tokenizer.decode([token]) or START)
        return names

    def decode(self, tokens: Tensor) -> str:
        """The text of a row [length], as the tokenizer sees it: in lower case."""
        inside = [token for token in tokens.tolist() if token not in (self.start, self.end)]
        return self.tokenizer.decode(inside).strip()


def _checked(text) -> str:
    if not isinstance(text, str):
        raise CourseError(f"A prompt is a text, not a {type(text).__name__}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CourseError(
            f"The prompt holds half a character at place {error.start + 1}: type it anew."
        ) from None
    return text[:LONGEST]


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """The course's own tokenizer, from its file in assets."""
    from tokenizers import Tokenizer as Fast

    mend = "get it again: git checkout -- assets"
    with reading(FILE, "cannot be read", mend):
        return Tokenizer(Fast.from_str(FILE.read_text(encoding="utf-8")), LENGTH)


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY):
    """A byte-pair tokenizer of these texts, as the `tokenizers` package has it.

    Text is brought to one form (NFKC, lower case, control characters and runs of blanks to
    one blank); then bytes are joined, the most frequent pair first, so that no text is
    unknown.
    """
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Fast

    made = Fast(models.BPE())
    made.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"[\p{Cc}\p{Cf}\s]+"), " "),
            normalizers.Strip(),
            normalizers.Lowercase(),
        ]
    )
    # a blank before the first word too, so that it is the same token wherever it stands
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return made
