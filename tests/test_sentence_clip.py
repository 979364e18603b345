"""The CLIP of a frozen sentence encoder."""

import torch

from course_lib.models import ImageConfig, SentenceCLIP, SentenceCLIPConfig
from course_lib.models.clip import contrastive_loss

TINY = SentenceCLIPConfig(
    ImageConfig(channels=12, widths=(8, 8), groups=4), sentence=16, dim=8, dropout=0.5
)


def test_both_sides_end_in_unit_vectors_of_one_space():
    net = SentenceCLIP(TINY).eval()
    images, texts = net(torch.rand(5, 3, 16, 16) * 2 - 1, torch.randn(4, 16))
    assert images.shape == (5, 8) and texts.shape == (4, 8)
    for vectors in (images, texts):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_the_fold_loses_no_pixel():
    """Each pixel of a picture moves its vector."""
    net = SentenceCLIP(TINY).eval()
    x = (torch.rand(1, 3, 8, 8) * 2 - 1).requires_grad_()
    net.embed_images(x)[0, 0].backward()
    assert (x.grad != 0).all()


def test_it_learns_to_tell_four_pairs_apart():
    net = SentenceCLIP(TINY).eval()  # without dropout
    x, sentences = (
        torch.rand(4, 3, 16, 16) * 2 - 1,
        torch.nn.functional.normalize(torch.randn(4, 16), dim=1),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = contrastive_loss(*net(x, sentences), net.scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_the_scale_stays_below_the_papers_most():
    net = SentenceCLIP(TINY)
    with torch.no_grad():
        net.log_scale.fill_(9.0)
    torch.testing.assert_close(net.scale, torch.tensor(100.0))


def test_the_shipped_shape_is_small():
    with torch.device("meta"):
        net = SentenceCLIP(SentenceCLIPConfig())
    assert sum(p.numel() for p in net.parameters()) < 1.2e6
