"""A classifier of colour images on the image tower of `CLIP`: it judges the style of emoji."""

from dataclasses import dataclass

from torch import Tensor, nn

from course_lib.models.clip import ImageConfig, ImageTower


@dataclass(frozen=True)
class ImageClassifierConfig:
    """The shape of an `ImageClassifier`."""

    image: ImageConfig = ImageConfig(widths=(24, 48, 96, 128))
    classes: int = 7
    dropout: float = 0.2  # on the features, in training only


class ImageClassifier(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] to logits [B, classes]."""

    def __init__(self, config: ImageClassifierConfig = ImageClassifierConfig()):
        super().__init__()
        self.config = config
        self.image = ImageTower(config.image)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.image.widths[-1], config.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.image(x)))
