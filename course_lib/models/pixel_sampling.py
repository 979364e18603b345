"""Drawing from a PixelCNN: the naive way, the way that computes only what changes, and what a
pixel looks at.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.models.pixelcnn import PixelCNN, draw_levels


def sample(
    net: PixelCNN,
    uniforms: Tensor,
    cond: Tensor | None = None,
    *,
    known: Tensor | None = None,
    rows_known: int = 0,
    cached: bool = True,
) -> Tensor:
    """Pictures drawn pixel by pixel, row by row: float in [-1, 1], [B, 1, H, W].

    uniforms [B, H, W] in [0, 1) are all the chance there is: the same numbers give the same
    pictures, cached or not, to the bit in float32 on the CPU. The first rows_known rows are
    taken from known [B, 1, H, W]. The naive way calls the net H W times on whole pictures; the
    cached one computes of every layer the one value that a new pixel makes possible.
    """
    B, H, W = uniforms.shape
    alone = B == 1
    if alone:  # a batch of one takes other convolution kernels, which round otherwise
        uniforms = uniforms.expand(2, H, W)
        cond = None if cond is None else cond.expand(2)
    device = next(net.parameters()).device
    x = torch.zeros(len(uniforms), 1, H, W, device=device)
    if rows_known:
        x[:, :, :rows_known] = known[:, :, :rows_known].to(device)
    paint = _paint_cached if cached else _paint_naive
    training = net.training
    net.eval()
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        paint(net, x, uniforms.to(device), cond, rows_known)
    net.train(training)
    return x[:B]


def _paint_naive(net: PixelCNN, x: Tensor, uniforms: Tensor, cond: Tensor | None, first: int):
    """Fill the rows of x from `first` on: one call of the whole net for every pixel."""
    for y in range(first, x.shape[2]):
        for column in range(x.shape[3]):
            params = net(x, cond)[:, :, y, column].contiguous()
            x[:, 0, y, column] = draw_levels(params, uniforms[:, y, column]) / 127.5 - 1


def _paint_cached(net: PixelCNN, x: Tensor, uniforms: Tensor, cond: Tensor | None, first: int):
    """The same, each value of each layer computed once.

    Every block keeps its padded inputs: of the vertical stack whole, for a new row needs the
    rows above; of the horizontal stack one row, for it never looks at another.
    """
    B, _, H, W = x.shape
    framed, C = net.framed(x), net.config.channels
    embeddings = net.embeddings(cond, B)
    v_inputs = [F.pad(x.new_zeros(B, C, H, W), block.pad_v) for block in net.blocks]
    h_inputs = [F.pad(x.new_zeros(B, C, 1, W), block.pad_h) for block in net.blocks]
    for y in range(H):
        v = net.stem_v(framed[:, :, y : y + 3, 1:].contiguous())  # [B, C, 1, W]
        told = []
        for block, emb, kept in zip(net.blocks, embeddings, v_inputs, strict=True):
            left, right, top, _ = block.pad_v
            kept[:, :, top + y, left : left + W] = v[:, :, 0]
            v = v + block.vertical(kept[:, :, y : y + top + 1].contiguous(), emb)
            told.append(block.told(v, emb))
        if y < first:
            continue
        for column in range(W):
            h = net.stem_h(framed[:, :, y + 3 : y + 4, column : column + 4].contiguous())
            for block, kept, row in zip(net.blocks, h_inputs, told, strict=True):
                left = block.pad_h[0]
                kept[:, :, :, left + column] = h[:, :, :, 0]
                window = kept[:, :, :, column : column + left + 1].contiguous()
                h = h + block.horizontal(window, row[:, :, :, column : column + 1])
            params = net.head(h)[:, :, 0, 0].contiguous()
            value = draw_levels(params, uniforms[:, y, column]) / 127.5 - 1
            x[:, 0, y, column] = framed[:, 0, y + 3, column + 4] = value


def complete(
    net: PixelCNN,
    picture: Tensor,
    rows_known: int,
    uniforms: Tensor,
    cond: Tensor | None = None,
) -> Tensor:
    """Ends for the first rows of one picture [1, H, W] in [-1, 1], one for each of uniforms
    [B, H, W]: [B, 1, H, W].
    """
    known = picture.expand(len(uniforms), *picture.shape)
    return sample(net, uniforms, cond, known=known, rows_known=rows_known)


def influence(
    net: PixelCNN, x: Tensor, row: int, column: int, cond: Tensor | None = None
) -> Tensor:
    """How much each pixel moves the distribution of pixel (row, column): |gradient|, [H, W].

    Of the mixture's numbers there, summed with fixed signs; averaged over x [B, 1, H, W].
    Exactly 0 for the pixel itself and all that come after it.
    """
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_(True)
        params = net(x, cond)[:, :, row, column]  # [B, 3 K]
        signs = 1.0 - 2.0 * (torch.arange(params.shape[1], device=x.device) % 2)
        (gradient,) = torch.autograd.grad((params * signs).sum(), x)
    return gradient.abs().mean(dim=0)[0]
