"""What the recipes of text to image share: the emoji in the device's memory, augmentation
there, and captions as tokens.
"""

import math
import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data import Batches
from course_lib.data.emoji import LANGUAGES, STYLES, Emoji, emoji, prompt
from course_lib.draws import Draws, mixed_seed
from course_lib.runs import Setting
from course_lib.text import tokenizer

# whose mirror image shows the same; hands, arrows and letters don't
MIRRORED = ("smileys-emotion", "animals-nature", "food-drink")
SIDED = re.compile(r"\b(left|right|leftwards|rightwards|facing)\b")
CAPTIONS = 8  # number of a stream of its own, beside a run's


def to_images(pixels: Tensor) -> Tensor:
    """Bytes uint8 [B, 3, H, W] to float32 in [-1, 1], on the same device."""
    return pixels.float() / 127.5 - 1


class RowBatches:
    """Endless batches of row numbers int64 [B], of `rows` in a new order each epoch.

    The images themselves lie on the device already: 127 MB as bytes.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, setting: Setting):
        # Batches knows order, epochs and shares; the pixels that it hands out are stand-ins
        pixels = np.zeros((len(rows), 1, 1), dtype=np.uint8)
        shard = setting.draws.shard
        self.batches = Batches(pixels, rows, batch_size, setting.seed, shard=shard)

    def __iter__(self):
        return self

    def __next__(self) -> Tensor:
        return next(self.batches)[1]

    def state_dict(self) -> dict:
        """How many batches were given."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict):
        """Go on after those that a saved run had taken."""
        self.batches.load_state_dict(state)


def mirrors(data: Emoji) -> np.ndarray:
    """Which images may be mirrored: bool [N]."""
    fine = np.array(
        [
            concept.category in MIRRORED and not SIDED.search(concept.name)
            for concept in data.concepts
        ]
    )
    return fine[data.concept]


def moved(
    x: Tensor,
    draws: Draws,
    *,
    flip: Tensor,
    zoom: float = 0.1,
    shift: float = 0.06,
    turn: float = 6.0,
) -> Tensor:
    """Each image mirrored (half of those with flip [B] true), zoomed, shifted and turned a
    little, white where nothing was: x [B, C, H, W] in [-1, 1] to the same.

    zoom and shift are fractions of the side, turn is degrees, each the most of a uniform draw.
    """
    B = len(x)
    u = draws.uniform(B, 5).to(x.device)
    size = 1 + (2 * u[:, 0] - 1) * zoom
    angle = (2 * u[:, 1] - 1) * math.radians(turn)
    sign = torch.where(flip.to(x.device) & (u[:, 4] < 0.5), -1.0, 1.0)
    cos, sin = angle.cos() / size, angle.sin() / size
    places = (2 * u[:, 2:4] - 1) * 2 * shift
    # written out and not F.affine_grid, whose matrix product autocast would round to bf16
    H, W = x.shape[2:]
    v, h = (  # the pixels' own places, [H, 1] and [1, W], from -1 to 1 over the picture
        ((torch.arange(side, device=x.device) * 2 + 1) / side - 1) for side in (H, W)
    )
    v, h = v[None, :, None], h[None, None, :]
    cos, sin, sign = (each[:, None, None] for each in (cos, sin, sign))
    across = sign * (cos * h - sin * v) + places[:, 0, None, None]  # [B, H, W]
    down = sin * h + cos * v + places[:, 1, None, None]
    grid = torch.stack([across, down], dim=-1)
    # outside a picture is 0 for grid_sample, and white is to be 0 then
    return 1 - F.grid_sample(1 - x, grid, align_corners=False)


def tinted(x: Tensor, draws: Draws, most: float = 0.15) -> Tensor:
    """Each image a little darker or paler, and each of its channels too: x [B, 3, H, W] in
    [-1, 1] to the same. White stays white.
    """
    u = draws.uniform(len(x), 4, 1, 1).to(x.device)
    ink = (1 - x) * (1 + (2 * u[:, 1:] - 1) * most) * (1 + (2 * u[:, :1] - 1) * most)
    return 1 - ink.clamp(0, 2)


def caption_table(
    data: Emoji, count: int, seed: int, bare: float = 0.0
) -> tuple[Tensor, Tensor]:
    """`count` captions a language of every image: tokens int16 [N, 2 * count, L], and which
    name the style, bool [N, 2 * count]; a share of `bare` doesn't.
    """
    draws, texts = Draws(mixed_seed(seed, CAPTIONS)), []
    number = len(data.concept) * len(LANGUAGES) * count
    styled = draws.uniform(number) >= bare
    for concept, style in zip(data.concept, data.style, strict=True):
        for language in LANGUAGES:
            for _ in range(count):
                named = STYLES[style] if styled[len(texts)] else None
                texts.append(prompt(data.concepts[concept], named, language, draws))
    tokens = tokenizer().encode_all(texts).to(torch.int16)  # the vocabulary is 4,096
    shape = len(data.concept), len(LANGUAGES) * count
    return tokens.reshape(*shape, -1), styled.reshape(shape)


def on_device(device: torch.device) -> tuple[Emoji, Tensor]:
    """The data set, and its images as bytes on a device, [N, 3, 64, 64]."""
    data = emoji()
    return data, torch.from_numpy(np.array(data.images)).to(device)
