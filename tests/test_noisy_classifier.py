"""The classifier of noised pictures: its shapes, and that it reads picture and time; what it
names well it leads to.
"""

import torch
import torch.nn.functional as F

from course_lib import Schedule, final, mixture_denoiser, sample_ddim
from course_lib.diffusion import classifier_guided
from course_lib.models import NoisyClassifier, NoisyClassifierConfig

SMALL = NoisyClassifierConfig(
    channels=2, widths=(8, 16), blocks=1, emb_dim=16, classes=3, groups=4, dropout=0.0
)


def test_shapes_and_what_it_reads():
    torch.manual_seed(0)
    net = NoisyClassifier(SMALL)
    for block in net.layers:  # as a net begins, its blocks are skips alone
        if hasattr(block, "conv2"):
            torch.nn.init.normal_(block.conv2.weight, std=0.1)
    x, t = torch.randn(4, 2, 8, 8, requires_grad=True), torch.tensor([0, 10, 500, 1000])
    logits = net(x, t)
    assert logits.shape == (4, 3) and logits.isfinite().all()
    torch.testing.assert_close(net(x, t.float()), logits)
    torch.testing.assert_close(net(x[2:3], t[2:3]), logits[2:3])  # each for itself
    assert not torch.allclose(net(x, t + 100), logits)
    logits.sum().backward()
    assert x.grad.flatten(1).abs().sum(dim=1).gt(0).all()
    assert all(p.grad is not None for p in net.parameters())
    assert net(torch.randn(2, 2, 12, 8), t[:2]).shape == (2, 3)  # any side that halves


def test_a_trained_one_leads_to_the_kind_asked_for():
    """Three kinds of flat pictures, all noise levels: named rightly nearly always, and a
    sampler that knows no kinds ends at the one that was asked for.
    """
    torch.manual_seed(0)
    schedule, net = Schedule.cosine(100), NoisyClassifier(SMALL)
    centres = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [1.0, -0.5]])[:, :, None, None]
    centres = centres.expand(3, 2, 4, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(150):
        kind, t = torch.randint(3, (64,)), torch.randint(1, 91, (64,))
        x_t = schedule.add_noise(centres[kind], t, torch.randn(64, 2, 4, 4))
        loss = F.cross_entropy(net(x_t, t), kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    both = mixture_denoiser(schedule, centres, 0.1)

    def log_prob(x, t, asked):
        log_p = net(x, torch.as_tensor(t).expand(len(x))).log_softmax(dim=1)
        return log_p.gather(1, asked[:, None])[:, 0]

    asked, x = torch.arange(30) % 3, torch.randn(30, 2, 4, 4)
    steer = classifier_guided(lambda x, t, cond: both(x, t), log_prob, 3.0, schedule, 90)
    made = final(sample_ddim(steer, schedule, x, schedule.times(25), (None, asked)))
    far = (made[:, None] - centres).square().flatten(2).sum(2)
    assert (far.argmin(dim=1) == asked).float().mean() > 0.9
