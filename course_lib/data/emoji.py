"""Captioned emoji: 10,381 images of 1,644 concepts in up to seven art styles, packed in
assets/emoji with their licences and credits in assets/README.md.

A sheet a style, lossless WebP, 40 tiles a row. They are decoded once into a cache folder of
the user, as one file of raw bytes, and mapped into memory from there.
"""

import hashlib
import json
import tempfile
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from course_lib.data.assets import DataError, cache_folder
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.files import sweep

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "emoji"
# of the decoded bytes, all images one after another
RAW_SHA256 = "014a71acc38faa062b62fbabc47df86fd9ca850bab2867b15343cad110c4b342"
# what a card says of it
TRAINED_ON = {"data": "Captioned emoji, the 9,326 training pairs", "data_sha256": RAW_SHA256}
FILES = {  # in the order of their images; openmoji's licence is of another kind than the rest
    "noto": (
        "noto.webp",
        "8cc8f4255849b41798fce4d7583053c6dd1c580a8c401c52aa8f7ca291d69291",
    ),
    "noto-v1": (
        "noto-v1.webp",
        "8f3e9629888c21aaeddf9b18bfcd0d483e40da8d0992b29d0205d3be236091ee",
    ),
    "fluent-flat": (
        "fluent-flat.webp",
        "297a36aa7335b149b641b932ae1b93226cc0a11c9bcef460f484fb3337e8cd07",
    ),
    "fluent-3d": (
        "fluent-3d.webp",
        "957ce62c85da41858ab64ec7e0ec8b342624375f8df6cc09324a46ef85b8b79e",
    ),
    "twemoji": (
        "twemoji.webp",
        "cf7b0efaa8555a007ba7b5fab157456e8ccfbe5d08bb385e8d9a7fb91a193024",
    ),
    "emojione-v2": (
        "emojione-v2.webp",
        "0721857280c562b3cae8b5f76be70d56db32455574066c928275cfc65c50940a",
    ),
    "openmoji": (
        "openmoji/openmoji.webp",
        "271e4fa92ca9b76b3bbfd743e74eb9749e94d0201736e3676c1a3f0534dd64da",
    ),
}
# made by tools/train_tokenizer.py; course_lib/text.py reads it
TOKENIZER = (
    "tokenizer.json",
    "c1850dc0b94753ceeecbaa32d64e02862b68d2584189edc75f81cc99dcfe7942",
)
CAPTIONS = (
    "captions.json",
    "f3be0047e5d4975066fa8c31dc4819aba55958316a6bcac1aa04a48b1afd63d6",
)
# made by tools/pack_minilm.py
SENTENCES = (
    "minilm.safetensors",
    "30fba8093d518cc3df798d1e1b8b43ca51e41e6f8e1da1b37e9fc99cf178111e",
)
STYLES = tuple(FILES)
LANGUAGES = ("en", "zh")
COUNT, SIDE, COLUMNS = 10_381, 64, 40
RAW_BYTES = COUNT * 3 * SIDE * SIDE
HELD_OUT_BELOW = 0x1A  # a pair's first hash byte under this: a tenth of the pairs
HELD_OUT_CONCEPTS_BELOW = 0x0D  # the same of a concept alone: a twentieth of the concepts
VALID_CONCEPTS_BELOW = 0x1A  # the next twentieth
MOST_TAGS = 4  # in a drawn prompt


@dataclass(frozen=True)
class Concept:
    """One emoji, whatever the style it is drawn in."""

    hex: str  # its code points, "1F680"
    char: str  # the character itself
    category: str
    name: str  # English
    tags: tuple[str, ...]
    name_zh: str  # Chinese
    tags_zh: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Whether the small CLIP never sees it, in no style: 78 of 1,644."""
        return self.split == "test"

    @property
    def split(self) -> str:
        """Of the concepts, for the small CLIP, by hash alone: "train" 1,479, "valid" 87, by
        which its recipe was chosen, "test" 78. It is trained on the first only.
        """
        first = hashlib.sha256(self.hex.encode()).digest()[0]
        if first < HELD_OUT_CONCEPTS_BELOW:
            return "test"
        return "valid" if first < VALID_CONCEPTS_BELOW else "train"


@dataclass(frozen=True, eq=False)
class Emoji:
    """All images and what they show; row i of each array is image i."""

    images: np.ndarray  # uint8 [N, 3, 64, 64], on white; read-only and memory-mapped
    concept: np.ndarray  # int64 [N], index into `concepts`
    style: np.ndarray  # int64 [N], index into STYLES
    held_out: np.ndarray  # bool [N]: in no training of any part
    concepts: tuple[Concept, ...]

    def rows(self, split: str) -> np.ndarray:
        """The images of a split, int64: "train" 9,326, "test" 1,055, the held-out pairs."""
        if split not in ("train", "test"):
            raise CourseError(f"Emoji has no split {split!r}; there are train and test.")
        return np.flatnonzero(self.held_out == (split == "test"))


def is_held_out(hex: str, style: str) -> bool:
    """Whether a concept in a style is kept from every training: a tenth, by hash alone."""
    return hashlib.sha256(f"{hex}/{style}".encode()).digest()[0] < HELD_OUT_BELOW


def prompt(
    concept: Concept, style: str | None, language: str = "en", draws: Draws | None = None
) -> str:
    """A caption: "robot, openmoji style", or in Chinese "机器人，openmoji 风格".

    With draws, one of the many for the same image: up to four tags in any order after the
    name, in a tenth of the cases in its place. style None leaves the style out.
    """
    if language not in LANGUAGES:
        raise CourseError(f"There is no language {language!r}; there are en and zh.")
    chinese = language == "zh"
    name, tags = (
        (concept.name_zh, concept.tags_zh) if chinese else (concept.name, concept.tags)
    )
    chosen, named = [], True
    if draws is not None and tags:
        number, order = draws.uniform(2), draws.uniform(len(tags)).argsort().tolist()
        chosen = [tags[i] for i in order[: int(number[0] * (MOST_TAGS + 1))]]
        named = not chosen or number[1].item() >= 0.1
    comma, colon = ("，", "：") if chinese else (", ", ": ")
    text = comma.join(chosen)
    if named:
        text = name + (colon + text if text else "")
    if style is None:
        return text
    return f"{text}{comma}{style} 风格" if chinese else f"{text}{comma}{style} style"


def _split_style(text: str) -> tuple[str, str | None]:
    """A prompt less its last words, where these are "... style" or "... 风格", and the words
    before that.
    """
    end = max(text.rfind(","), text.rfind("，"))
    # as the tokenizer reads it (course_lib/text.py): "Noto  Style" is "noto style"
    plain = unicodedata.normalize("NFKC", text[end + 1 :])
    plain = "".join(" " if unicodedata.category(c) in ("Cc", "Cf") else c for c in plain)
    last = " ".join(plain.lower().split())
    if end < 0 or not last.endswith((" style", " 风格")):
        return text, None
    return text[:end].rstrip(), last.rpartition(" ")[0].strip()


def without_style(text: str) -> str:
    """A prompt less the style that it names at its end: "robot, openmoji style" to "robot",
    "机器人，openmoji 风格" to "机器人"; any other text stays as it is.
    """
    return _split_style(text)[0]


def style_of(text: str) -> int | None:
    """The place in STYLES of the style that a prompt names at its end; None where it names
    none, or one that there isn't.
    """
    named = _split_style(text)[1]
    return STYLES.index(named) if named in STYLES else None


def prompts_of(data: Emoji, rows: Iterable[int], language: str = "en") -> list[str]:
    """The plain prompt of each image of `rows`."""
    return [
        prompt(data.concepts[data.concept[row]], STYLES[data.style[row]], language)
        for row in rows
    ]


@lru_cache(maxsize=1)
def emoji() -> Emoji:
    """The whole data set. The first call ever decodes the sheets into the cache folder; where
    that cannot be written the images live in memory and a warning says so. Raises DataError
    for a missing or altered file.
    """
    captions = json.loads(_read(*CAPTIONS))
    concepts = tuple(_concept(each) for each in captions["concepts"])
    shown = [np.array(captions["concepts_of_style"][style]) for style in STYLES]
    concept = np.concatenate(shown).astype(np.int64)
    style = np.repeat(np.arange(len(STYLES)), [len(each) for each in shown])
    held_out = np.array(
        [is_held_out(concepts[c].hex, STYLES[s]) for c, s in zip(concept, style, strict=True)]
    )
    raw = _raw_bytes([len(each) for each in shown])
    return Emoji(raw.reshape(COUNT, 3, SIDE, SIDE), concept, style, held_out, concepts)


@lru_cache(maxsize=1)
def sentence_vectors() -> np.ndarray:
    """What the frozen sentence encoder MiniLM makes of each concept's English caption, "name:
    tag, tag": unit vectors float32 [1644, 384], in the order of `concepts`.
    """
    from safetensors.numpy import load

    return load(_read(*SENTENCES))["vectors"].astype(np.float32)


def _concept(entry: dict) -> Concept:
    return Concept(
        entry["hex"],
        entry["char"],
        entry["category"],
        entry["name"],
        tuple(entry["tags"]),
        entry["name_zh"],
        tuple(entry["tags_zh"]),
    )


def verify_emoji():
    """Hash every packed file; nothing is unpacked or written. Raises DataError."""
    for name, expected in (*FILES.values(), CAPTIONS, TOKENIZER, SENTENCES):
        _read(name, expected)


def _read(name: str, expected: str) -> bytes:
    """A shipped file's bytes, once their hash is right."""
    path, found = FOLDER / name, "no such file"
    try:
        data = path.read_bytes()
        found = f"SHA-256 {hashlib.sha256(data).hexdigest()} ({len(data):,} bytes)"
        if found.split()[1] == expected:
            return data
    except OSError as error:
        found = error.strerror or str(error)
    raise DataError(
        f"{path} is not the file that the course ships.\n"
        f"  expected: SHA-256 {expected}\n"
        f"  found:    {found}\n"
        f"  mend:     `git checkout -- assets/emoji` in the course's folder, or clone it again"
    )


def _raw_bytes(counts: list[int]) -> np.ndarray:
    """All images' bytes, uint8 [RAW_BYTES], from the cache or decoded."""
    folder = cache_folder()
    path = folder / f"emoji-{RAW_SHA256[:16]}.bin" if folder is not None else None
    if path is not None and (found := _open_cache(path)) is not None:
        return found
    raw = _decode(counts)
    reason = "no cache folder was found"
    if path is not None:
        try:
            _write_cache(path, raw)
            return np.memmap(path, dtype=np.uint8, mode="r", shape=(RAW_BYTES,))
        except OSError as error:
            reason = f"{path.parent} cannot be written ({error.strerror or error})"
    warnings.warn(
        f"The emoji stay in memory and are decoded again at each start: {reason}; "
        "MARBLE_CACHE names another folder.",
        stacklevel=3,
    )
    return np.frombuffer(raw, dtype=np.uint8)


def _decode(counts: list[int]) -> bytes:
    """The tiles of every sheet, cut and joined."""
    import io

    from PIL import Image

    parts = []
    for (name, expected), count in zip(FILES.values(), counts, strict=True):
        with Image.open(io.BytesIO(_read(name, expected))) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))  # [64 rows, 64 * 40, 3]
        tiles = pixels.reshape(-1, SIDE, COLUMNS, SIDE, 3).transpose(0, 2, 4, 1, 3)
        parts.append(tiles.reshape(-1, 3, SIDE, SIDE)[:count].tobytes())
    raw = b"".join(parts)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != RAW_SHA256:
        raise DataError(
            f"{FOLDER} has the right files, but this Pillow decodes them to SHA-256 {digest} "
            f"instead of {RAW_SHA256}: install the version in requirements.txt"
        )
    return raw


def _open_cache(path: Path) -> np.ndarray | None:
    """The cached bytes, memory-mapped; None where they are not there or not the right ones."""
    try:
        if path.stat().st_size != RAW_BYTES:
            return None
        raw = np.memmap(path, dtype=np.uint8, mode="r", shape=(RAW_BYTES,))
    except (OSError, ValueError):
        return None
    return raw if hashlib.sha256(raw).hexdigest() == RAW_SHA256 else None


def _write_cache(path: Path, raw: bytes):
    """Whole or not at all; processes that do so at once write equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    with tempfile.NamedTemporaryFile(
        prefix=path.name + ".", suffix=".part", dir=path.parent, delete=False
    ) as file:
        part = Path(file.name)
        try:
            file.write(raw)
            file.close()
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
