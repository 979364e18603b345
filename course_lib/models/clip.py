"""Text and image in one space: CLIP (Radford et al. 2021).

The text tower is Stable Diffusion 1.x's text encoder, by configuration; the image tower is the
course's own small residual net.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import split_heads


@dataclass(frozen=True)
class TextConfig:
    """The shape of a `TextTower`; the defaults are Stable Diffusion 1.x's, 123 M
    parameters.
    """

    vocabulary: int = 49408  # tokens there are
    length: int = 77  # tokens of a prompt, start and end included
    width: int = 768  # size of a token's state
    layers: int = 12
    heads: int = 12
    end: int = 49407  # the token at whose first place the whole prompt is read


class TextLayer(nn.Module):
    """Causal self-attention and two linear layers, norms first: [B, L, width] to the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        q, k, v = (split_heads(layer(h), self.heads) for layer in (self.q, self.k, self.v))
        # a token sees itself and those before it, so what pads a prompt changes none of it
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # [B, heads, L, d]
        x = x + self.out(h.transpose(1, 2).flatten(2))
        h = self.inner(self.norm2(x))
        return x + self.outer(h * torch.sigmoid(1.702 * h))  # CLIP's quick GELU


class TextTower(nn.Module):
    """Tokens [B, L] int64 to their states [B, L, width], which steer a picture by
    cross-attention.
    """

    def __init__(self, config: TextConfig = TextConfig()):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Embedding(config.length, config.width)
        self.layers = nn.ModuleList(
            TextLayer(config.width, config.heads) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.tokens.weight, std=0.02)  # CLIP's own start, section 2.5
        nn.init.normal_(self.places.weight, std=0.01)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        for layer in self.layers:
            h = layer(h)
        return self.norm(h)

    def at_end(self, tokens: Tensor, states: Tensor) -> Tensor:
        """The state at each prompt's end token, which has seen all of it: [B, width]."""
        places = (tokens == self.config.end).int().argmax(dim=1)  # the first one
        return states[torch.arange(len(tokens), device=tokens.device), places]


@dataclass(frozen=True)
class ImageConfig:
    """The shape of an `ImageTower`."""

    channels: int = 3
    widths: tuple[int, ...] = (48, 96, 192, 256)  # a level's; the first has half the side
    blocks: int = 1  # residual blocks at each level
    groups: int = 8


class ImageBlock(nn.Module):
    """Two convolutions on a residual path, the first with a stride: x [B, C, H, W] to
    [B, width, H / stride, W / stride].
    """

    def __init__(self, in_width: int, width: int, stride: int, groups: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, width)
        same = in_width == width and stride == 1
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(in_width, width, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.skip(x) + self.norm2(self.conv2(h)))


class ImageTower(nn.Module):
    """Images [B, channels, H, W] in [-1, 1] to features [B, widths[-1]]."""

    def __init__(self, config: ImageConfig = ImageConfig()):
        super().__init__()
        self.config = config
        width = config.widths[0]
        layers = [nn.Conv2d(config.channels, width, 4, stride=2, padding=1)]
        for level, out_width in enumerate(config.widths):
            for place in range(config.blocks):
                stride = 2 if level and place == 0 else 1
                layers.append(ImageBlock(width, out_width, stride, config.groups))
                width = out_width
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean(dim=(2, 3))


@dataclass(frozen=True)
class CLIPConfig:
    """The shape of a `CLIP`."""

    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    dim: int = 192  # of the space that both towers end in
    dropout: float = 0.0  # on the image's features, in training only


class CLIP(nn.Module):
    """Two towers that meet: images [B, 3, H, W] and tokens [B, L] to unit vectors [B, dim]."""

    def __init__(self, config: CLIPConfig = CLIPConfig()):
        super().__init__()
        self.config = config
        self.text, self.image = TextTower(config.text), ImageTower(config.image)
        self.text_projection = nn.Linear(config.text.width, config.dim, bias=False)
        self.image_projection = nn.Linear(config.image.widths[-1], config.dim, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # 1 / temperature

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax, at most 100 as in the paper."""
        return self.log_scale.clamp(max=math.log(100.0)).exp()

    def embed_images(self, x: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to unit vectors [B, dim]."""
        return F.normalize(self.image_projection(self.dropout(self.image(x))).float(), dim=1)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L] to unit vectors [B, dim]."""
        pooled = self.text.at_end(tokens, self.text(tokens))
        return F.normalize(self.text_projection(pooled).float(), dim=1)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_images(x), self.embed_texts(tokens)


def contrastive_loss(
    images: Tensor, texts: Tensor, scale: float | Tensor, same: Tensor | None = None
) -> Tensor:
    """CLIP's loss (Radford et al. 2021, figure 3): which text belongs to which image, and the
    other way; chance is log B.

    images, texts [B, dim] are unit vectors. same [B, B], if given, is true where text j says
    image i as well as its own does (one concept twice in a batch): those share the target.
    """
    with torch.autocast(images.device.type, enabled=False):
        # scaled up to 100 times: bf16 would round a cosine's third digit away
        logits = scale * (images.float() @ texts.float().T)  # [B, B]
        if same is None:
            same = torch.eye(len(images), dtype=torch.bool, device=images.device)
        share = same.to(logits)
        to_texts = F.cross_entropy(logits, share / share.sum(dim=1, keepdim=True))
        to_images = F.cross_entropy(logits.T, share.T / share.T.sum(dim=1, keepdim=True))
    return (to_texts + to_images) / 2
