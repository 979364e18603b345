"""A flow of causal transformers over patches, each reading the other way round (TarFlow, Zhai
et al. 2024).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from course_lib.draws import Draws
from course_lib.layers import zero_init
from course_lib.models.dequantise import UniformDequantise, VariationalDequantise, from_cells
from course_lib.models.invertible import Inverse, Sequence, no_stretch, normal_log_prob
from course_lib.models.patches import CausalLayer, Patches, Regroup
from course_lib.models.spline import rational_quadratic, spline_parameters

DEQUANTISE = {
    "uniform": lambda channels: UniformDequantise(),
    "variational": lambda channels: VariationalDequantise(channels),
}


@dataclass(frozen=True)
class TarFlowConfig:
    """The shape of a `TarFlow`."""

    channels: int = 1  # of the image
    size: int = 28  # pixels a side
    patch: int = 2  # pixels a side of a token: 28x28 is 196 tokens of 4 numbers
    blocks: int = 2  # causal transformers, every second one from the last patch to the first
    layers: int = 4  # of attention and MLP in each
    width: int = 160  # channels of a token inside
    head_dim: int = 32  # channels of one attention head
    bins: int = 8  # of each number's spline after the affine map; 0: no spline
    classes: int = 10  # labels 0 .. classes - 1
    dropout: float = 0.05  # in training, on each branch of the transformer
    dequantise: str = "variational"  # or "uniform"

    @property
    def null_class(self) -> int:
        """The label that says "no class given"."""
        return self.classes

    @property
    def tokens(self) -> int:
        """Patches an image, which is the sequence's length."""
        return (self.size // self.patch) ** 2

    @property
    def token_dim(self) -> int:
        """Numbers a patch."""
        return self.channels * self.patch**2


class CausalBlock(nn.Module):
    """Each patch through a map that the patches before it choose: x [B, T, D], a flow's layer.

    r = x - b, u = exp(-a) (r - S r) with S strictly lower triangular, z = spline(u): a Normal
    of full covariance a patch (Zhai et al. 2024, eq. 6, is S = 0 without the spline). Forward
    is one pass over all patches; the inverse needs T in a row. The first block of a flow,
    which sees pixels, starts with a = -1, which stretches [-1, 1] over most of its splines.
    """

    def __init__(self, config: TarFlowConfig, backward: bool, first: bool = False):
        super().__init__()
        T, D, width = config.tokens, config.token_dim, config.width
        self.backward, self.D = backward, D
        self.stem = nn.Linear(D, width)
        self.place = nn.Parameter(0.02 * torch.randn(T, width))
        self.embed = nn.Embedding(config.classes + 1, width)
        self.layers = nn.ModuleList(
            CausalLayer(width, config.head_dim, config.dropout) for _ in range(config.layers)
        )
        curve = spline_parameters(config.bins) if config.bins else 0
        self.split = (D, D, D * (D - 1) // 2, D * curve)
        self.norm = nn.LayerNorm(width)
        self.head = zero_init(nn.Linear(width, sum(self.split)))
        nn.init.constant_(self.head.bias[:D], -1.0 if first else 0.0)
        self.register_buffer("lower", torch.tril_indices(D, D, -1), persistent=False)

    def _turned(self, x: Tensor) -> Tensor:
        """Last patch first, and each patch's last number first, where this block does so."""
        return x.flip(1, 2) if self.backward else x

    def _given(self, x: Tensor, emb: Tensor, t: slice = slice(None)) -> Tensor:
        """The transformer's input: what came before, whose turn it is, and the class. Never in
        half precision, which is coarser than a grey level near -1.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self.stem(x.to(self.place)) + self.place[t] + emb[:, None]

    def _chosen(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """h [B, t, width] to a and b [B, t, D], S [B, t, D, D] and curves [B, t, D, 3 K + 1].

        Never in half precision: a patch is told apart by less than a grey level.
        """
        with torch.autocast(h.device.type, enabled=False):
            told = self.head(self.norm(h.to(self.place)))
        a, b, s, curve = told.split(self.split, dim=-1)
        S = b.new_zeros(*b.shape, self.D)
        S[..., self.lower[0], self.lower[1]] = s
        return a, b, S, curve.unflatten(-1, (self.D, -1)) if self.split[-1] else None

    def forward(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        x = self._turned(x)
        # the first patch is told the class alone: a patch of zeros stands before it
        before = F.pad(x[:, :-1], (0, 0, 1, 0))
        h = self._given(before, self.embed(cond))
        for layer in self.layers:
            h = layer(h)
        a, b, S, curve = self._chosen(h)
        r = x - b
        z = (-a).exp() * (r - (S @ r[..., None])[..., 0])
        logdet = -a
        if curve is not None:
            z, log_slope = rational_quadratic(z, curve)
            logdet = logdet + log_slope
        return self._turned(z), logdet.flatten(1).sum(dim=1)

    def _patch(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """One patch undone: z [B, 1, D] and h [B, 1, width] to x [B, 1, D], logdet [B]."""
        a, b, S, curve = self._chosen(h)
        logdet = a
        if curve is not None:
            z, log_slope = rational_quadratic(z, curve, inverse=True)
            logdet = logdet + log_slope
        u, r = z * a.exp(), torch.zeros_like(z)
        for i in range(self.D):  # row i of S looks at what is known already
            known = (S[..., i, :] * r).sum(dim=-1)
            r = torch.cat([r[..., :i], (u[..., i] + known)[..., None], r[..., i + 1 :]], -1)
        return r + b, logdet.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Patch after patch, each transformer layer keeping its keys and values."""
        z, emb, total = self._turned(z), self.embed(cond), no_stretch(z)
        caches: list[list[Tensor]] = [[] for _ in self.layers]
        x, done = torch.zeros_like(z[:, :1]), []
        for t in range(z.shape[1]):
            h = self._given(x, emb, slice(t, t + 1))
            for layer, cache in zip(self.layers, caches, strict=True):
                h = layer(h, cache)
            x, logdet = self._patch(z[:, t : t + 1], h)
            done.append(x)
            total = total + logdet
        return self._turned(torch.cat(done, dim=1)), total


class TarFlow(nn.Module):
    """Dequantised images [B, C, H, W] to latents z [B, tokens, D] and back; classes cond [B],
    None for "no class given".
    """

    def __init__(self, config: TarFlowConfig = TarFlowConfig()):
        super().__init__()
        self.config = config
        self.dequantise = DEQUANTISE[config.dequantise](config.channels)
        layers: list[nn.Module] = [Patches(config.patch, config.size)]
        for i in range(config.blocks):
            block = CausalBlock(config, backward=bool(i % 2), first=i == 0)
            layers += [Regroup(), block, Inverse(Regroup())] if i % 2 else [block]
        self.flow = Sequence(layers)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(tokens, D) of one image's z."""
        return self.config.tokens, self.config.token_dim

    @property
    def calls(self) -> int:
        """Calls of a network, one after another, that an image takes."""
        return self.config.blocks * self.config.tokens

    @property
    def transformer_layers(self) -> list[CausalLayer]:
        """All layers of attention and MLP, which are alike in shape."""
        return [module for module in self.modules() if isinstance(module, CausalLayer)]

    @property
    def matrices(self) -> list[Tensor]:
        """The weights [out, in] inside of the transformers, which Muon is made for."""
        parts = ("qkv", "out", "up", "down")
        return [
            getattr(each, part).weight for each in self.transformer_layers for part in parts
        ]

    def _classes(self, x: Tensor, cond: Tensor | None) -> Tensor:
        null = torch.full((len(x),), self.config.null_class, device=x.device)
        return null if cond is None else cond

    def _exactly(self, layer: nn.Module, x: Tensor, cond: Tensor | None) -> tuple:
        """layer(x, classes), in eval mode in float64 where the device has it (MPS does not).

        Forward asks a transformer for all patches at once and the inverse for one after the
        other, so in float32 the answers differ in the last digits; each patch hands that on
        to the next, and at the end of the row it may have grown a thousandfold and more. The
        same would become of latents that are rounded to float32.
        """
        cond = self._classes(x, cond)
        if self.training or x.device.type == "mps":
            return layer(x, cond)
        tensors = dict(layer.named_parameters()) | dict(layer.named_buffers())
        wide = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
        return functional_call(layer, wide, (x.double(), cond))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images to latents, float64 in eval mode (not on MPS); log|det| [B] of x's dtype."""
        z, logdet = self._exactly(self.flow, x, cond)
        return z, logdet.to(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents [B, tokens, D] to dequantised images and log|det| [B] of this map, both of
        z's dtype, but of the weights' where z is float64.
        """
        x, logdet = self._exactly(Inverse(self.flow), z, cond)
        like = next(self.parameters()) if z.dtype == torch.float64 else z
        return x.to(like), logdet.to(like)

    def log_prob(
        self, x: Tensor, cond: Tensor | None = None, draws: Draws | None = None
    ) -> Tensor:
        """A lower bound of the log-probability of images of 256 levels, x [B, C, H, W] in [-1,
        1], in nats an image [B]; draws are the dequantisation's noise.
        """
        y, logdet_noise = self.dequantise(x, draws)
        z, logdet = self(y, cond)
        return (normal_log_prob(z) + logdet + logdet_noise).to(logdet)

    def sample(
        self, z: Tensor, cond: Tensor | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] from Normal noise z [B, tokens, D].

        The noise within a grey level is still in them: rounded to 256 levels, as a saved image
        is, they are what `dequantise.inverse` gives, but no rounding of float32 shows here.
        So float32, which takes about two thirds of the time, is exact enough.
        """
        y, _ = self.flow.inverse(temperature * z, self._classes(z, cond))
        return from_cells(y)
