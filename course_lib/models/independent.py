"""All at once: every pixel from a distribution of its own, and what that loses."""

import math

import torch
from torch import Tensor, nn

LEVELS = 256  # grey levels: level n stands at 2 n / 255 - 1


def entropy(p: Tensor) -> Tensor:
    """Bits of distributions [..., V] over their last axis; 0 log 0 is 0."""
    return -torch.special.xlogy(p, p).sum(dim=-1) / math.log(2)


def total_correlation(joint: Tensor) -> Tensor:
    """sum H(x_i) - H(x) in bits, of a table of joint probabilities with an axis a variable.

    It is what the best of all independent distributions, the marginals, pays above the joint:
    KL(p || product of the p_i).
    """
    # not joint.sum(dim=others): of a table of one axis, dim=[] would sum that one too
    V = joint.shape
    marginals = [joint.movedim(i, 0).reshape(V[i], -1).sum(dim=1) for i in range(joint.ndim)]
    return sum(entropy(p) for p in marginals) - entropy(joint.flatten())


class IndependentPixels(nn.Module):
    """p(x | class) as a product of distributions, one a pixel, all given in one call.

    A linear net from the class to H W 256 log probabilities could learn no other table than
    the counts that `fit` takes: independent maximum likelihood has a closed form.
    """

    def __init__(self, log_probs: Tensor):
        super().__init__()
        self.register_buffer("log_probs", log_probs)  # [classes, H, W, 256]

    @classmethod
    def fit(
        cls, images: Tensor, labels: Tensor, classes: int = 10, count: float = 0.1
    ) -> "IndependentPixels":
        """The table of uint8 images [N, H, W] with labels [N]; `count` is added to every
        level's, so that none is impossible.
        """
        N, H, W = images.shape
        cells = torch.arange(H * W) + labels.long()[:, None] * H * W  # [N, H W]
        flat = (cells * LEVELS + images.flatten(1).long()).flatten()
        counts = torch.bincount(flat, minlength=classes * H * W * LEVELS).double() + count
        counts = counts.view(classes, H, W, LEVELS)
        return cls((counts / counts.sum(dim=-1, keepdim=True)).log().float())

    def forward(self, cond: Tensor) -> Tensor:
        """log probabilities [B, H, W, 256] for classes [B], or for shares of them
        [B, classes]: "trouser or bag" is half and half.
        """
        if cond.is_floating_point():
            return torch.einsum("bc,chwv->bhwv", cond, self.log_probs.exp()).log()
        return self.log_probs[cond]

    def log_prob(self, x: Tensor, cond: Tensor) -> Tensor:
        """log p of uint8 images [B, H, W]: nats [B]."""
        found = self(cond).gather(3, x.long()[..., None])
        return found.sum(dim=(1, 2, 3))

    def sample(self, uniforms: Tensor, cond: Tensor) -> Tensor:
        """Pictures [B, 1, H, W] in [-1, 1], each pixel drawn by itself: uniforms [B, H, W]."""
        below = self(cond).exp().cumsum(dim=-1)[..., :-1]
        levels = (below <= uniforms[..., None]).sum(dim=-1)
        return (levels.float() / 127.5 - 1).unsqueeze(1)
