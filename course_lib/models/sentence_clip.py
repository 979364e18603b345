"""A small CLIP whose text side is a frozen sentence encoder: only a linear layer of it is
learnt, so that a concept of which it has seen no picture has its place too.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.models.clip import ImageConfig, ImageTower


@dataclass(frozen=True)
class SentenceCLIPConfig:
    """The shape of a `SentenceCLIP`."""

    image: ImageConfig = ImageConfig(channels=12, widths=(32, 64, 128, 208))
    fold: int = 2  # so many pixels of a side become channels: the tower is shown a smaller map
    sentence: int = 384  # of the frozen encoder's vectors; MiniLM's
    dim: int = 192  # of the space that both sides end in
    dropout: float = 0.1  # on the image's features, in training only


class SentenceCLIP(nn.Module):
    """Images [B, 3, H, W] and sentence vectors [B, sentence] to unit vectors [B, dim]."""

    def __init__(self, config: SentenceCLIPConfig = SentenceCLIPConfig()):
        super().__init__()
        self.config = config
        self.image = ImageTower(config.image)
        self.text_projection = nn.Linear(config.sentence, config.dim)
        self.image_projection = nn.Linear(config.image.widths[-1], config.dim, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # as in CLIP

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax, at most 100."""
        return self.log_scale.clamp(max=math.log(100.0)).exp()

    def embed_images(self, x: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to unit vectors [B, dim]."""
        x = F.pixel_unshuffle(x, self.config.fold)  # [B, 3 fold^2, H / fold, W / fold]
        return F.normalize(self.image_projection(self.dropout(self.image(x))).float(), dim=1)

    def embed_texts(self, sentences: Tensor) -> Tensor:
        """Sentence vectors [B, sentence], of length 1, to unit vectors [B, dim]."""
        # times sqrt(sentence): numbers about 1, as a linear layer expects them
        scaled = sentences * math.sqrt(self.config.sentence)
        return F.normalize(self.text_projection(scaled).float(), dim=1)

    def forward(self, x: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_images(x), self.embed_texts(sentences)
