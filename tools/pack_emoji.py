"""Rebuild the sheets of assets/emoji from the packages that assets/README.md names, by hand.

    pip install resvg-py==0.5.0
    npm pack @iconify-json/noto@1.2.9 ...        # each package, into FOLDER
    python tools/pack_emoji.py FOLDER [--out OTHER]

FOLDER holds the .tgz files as npm writes them. Which tile shows what stands in captions.json,
which stays as it is. With --out the sheets are written there; without, each is only compared
with the one that the course ships, and it exits with 1 where one differs.
"""

import argparse
import io
import json
import re
import sys
import tarfile
import unicodedata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from course_lib.data.emoji import COLUMNS, FILES, FOLDER, SIDE, Concept, emoji  # noqa: E402

# style: the package's file, and the one whose chars.json says which icon a code point is
PACKAGES = {
    "noto": ("iconify-json-noto-1.2.9", "iconify-json-noto-1.2.9"),
    "noto-v1": ("iconify-json-noto-v1-1.2.5", "iconify-json-noto-1.2.9"),
    "fluent-flat": (
        "iconify-json-fluent-emoji-flat-1.2.6",
        "iconify-json-fluent-emoji-flat-1.2.6",
    ),
    "twemoji": ("iconify-json-twemoji-1.2.5", "iconify-json-twemoji-1.2.5"),
    "emojione-v2": ("iconify-json-emojione-1.2.3", None),
    "openmoji": ("iconify-json-openmoji-1.2.29", "iconify-json-openmoji-1.2.29"),
}
# emojione's icons have the names of 2016
FORMERLY = {
    "smiling face with open hands": "hugging-face",
    "face with crossed-out eyes": "dizzy-face",
    "enraged face": "pouting-face",
    "robot": "robot-face",
    "grinning cat with smiling eyes": "grinning-cat-face-with-smiling-eyes",
    "cat with tears of joy": "cat-face-with-tears-of-joy",
    "cat with wry smile": "cat-face-with-wry-smile",
    "weary cat": "weary-cat-face",
    "crying cat": "crying-cat-face",
    "pouting cat": "pouting-cat-face",
    "person with veil": "bride-with-veil",
    "women holding hands": "two-women-holding-hands",
    "woman and man holding hands": "man-and-woman-holding-hands",
    "men holding hands": "two-men-holding-hands",
    "bullseye": "direct-hit",
    "water pistol": "pistol",
}
PICTURES = "lobehub-fluent-emoji-3d-1.1.0"  # WebP of 256 pixels, by code point
RENDERED = 256


def member(folder: Path, package: str, name: str) -> bytes | None:
    """A file of a package; None where it has none of this name."""
    with tarfile.open(folder / f"{package}.tgz") as archive:
        try:
            return archive.extractfile(f"package/{name}").read()
        except KeyError:
            return None


def code_points(concept: Concept) -> list[str]:
    """How a package may write a concept's code points: with and without the selector."""
    whole = concept.hex.lower()
    return [whole, whole.replace("-fe0f", ""), f"{whole}-fe0f"]


def slug(name: str) -> str:
    """A name as emojione's icons have it: "grinning-face"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")


def svg(icons: dict, name: str) -> str:
    """An icon as a document of its own."""
    while name in icons.get("aliases", {}):
        name = icons["aliases"][name]["parent"]
    icon = icons["icons"][name]
    width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
    side = max(width, height)  # the few that are no square stand in the middle of one
    left = icon.get("left", 0) - (side - width) / 2
    top = icon.get("top", 0) - (side - height) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" width="256" height="256" '
        f'viewBox="{left:g} {top:g} {side} {side}">{icon["body"]}</svg>'
    )


def reduced(picture: bytes) -> np.ndarray:
    """A picture of 256 pixels, put on white and reduced: uint8 [64, 64, 3]."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        drawn = opened.convert("RGBA")
    ground = Image.new("RGBA", drawn.size, "white")
    ground.alpha_composite(drawn)
    return np.asarray(ground.convert("RGB").reduce(RENDERED // SIDE))


def icon_tiles(folder: Path, style: str, concepts: list[Concept]):
    """The tiles of a style drawn as SVG, one a concept; None where no icon is found."""
    import resvg_py

    package, chars_of = PACKAGES[style]
    icons = json.loads(member(folder, package, "icons.json"))
    chars = json.loads(member(folder, chars_of, "chars.json")) if chars_of else {}
    known = icons["icons"].keys() | icons.get("aliases", {}).keys()
    for concept in concepts:
        names = [chars.get(code) for code in code_points(concept)]
        names += [FORMERLY.get(concept.name, slug(concept.name))]
        name = next((each for each in names if each in known), None)
        if name is None:
            yield None
            continue
        drawn = resvg_py.svg_to_bytes(
            svg_string=svg(icons, name), width=RENDERED, height=RENDERED
        )
        yield reduced(bytes(drawn))


def picture_tiles(folder: Path, concepts: list[Concept]):
    """The tiles of fluent-3d, which come as pictures."""
    with tarfile.open(folder / f"{PICTURES}.tgz") as archive:
        names = set(archive.getnames())
        for concept in concepts:
            files = [f"package/assets/{code}.webp" for code in code_points(concept)]
            name = next((each for each in files if each in names), None)
            yield None if name is None else reduced(archive.extractfile(name).read())


def sheet(tiles: list[np.ndarray]) -> np.ndarray:
    """Tiles in rows of 40, white behind the last: uint8 [rows * 64, 40 * 64, 3]."""
    rows = -(-len(tiles) // COLUMNS)
    whole = np.full((rows * COLUMNS, SIDE, SIDE, 3), 255, dtype=np.uint8)
    whole[: len(tiles)] = tiles
    whole = whole.reshape(rows, COLUMNS, SIDE, SIDE, 3).transpose(0, 2, 1, 3, 4)
    return whole.reshape(rows * SIDE, COLUMNS * SIDE, 3)


def pack(style: str, folder: Path, out: Path | None) -> bool:
    """Rebuild one sheet; whether it shows what the shipped one does."""
    from PIL import Image

    data = emoji()
    rows = np.flatnonzero(data.style == list(FILES).index(style))
    concepts = [data.concepts[i] for i in data.concept[rows]]
    made = list(
        picture_tiles(folder, concepts)
        if style == "fluent-3d"
        else icon_tiles(folder, style, concepts)
    )
    shipped = data.images[rows].transpose(0, 2, 3, 1)
    other = [i for i, tile in enumerate(made) if tile is None or (tile != shipped[i]).any()]
    lost = [concepts[i].name for i in other if made[i] is None]
    print(f"{style}: {len(made)} tiles, {len(other)} other than shipped", *lost[:5], sep=", ")
    if out is not None and not lost:
        path = out / FILES[style][0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet(made)).save(path, lossless=True, quality=100, method=6)
    return not other


def main() -> int:
    """Rebuild all sheets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.out is not None and args.out.resolve() == FOLDER:
        parser.error("write the sheets elsewhere and compare before you replace the course's")
    same = [pack(style, args.folder, args.out) for style in FILES]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
