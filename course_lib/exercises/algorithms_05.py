"""Algorithm 1 of the DDPM paper, which a reader of lesson 05 writes: the loss. The step of
Algorithm 2 stands in sampling_05.py.
"""

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise, other_end


def seeded(*shape: int, seed: int) -> Tensor:
    """Standard Normal numbers of this shape, the same whenever a lesson is opened."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FLOAT32 = (
    "The values are right, but {} should be float32: the net's weights are, and "
    "PyTorch will not mix the two."
)


# ---- Algorithm 1


def _toy_net(x_t: Tensor, t: Tensor) -> Tensor:
    """A net that anyone can follow: a third of its input, and a bit of the time."""
    return 0.3 * x_t + 0.01 * t.reshape(-1, 1, 1, 1)


def _squared(
    alpha_power: float = 1,
    sigma_power: float = 1,
    target: str = "eps",
    told=None,
    reduce=None,
    distance=None,
    back: tuple[int, int] = (0, 0),
    fed: str = "x_t",
):
    """Algorithm 1's loss with any of its parts bent: what the wrong turns compute."""

    def loss(
        predict, alpha: Tensor, sigma: Tensor, x0: Tensor, t: Tensor, eps: Tensor
    ) -> Tensor:
        by_image = [-1] + [1] * (x0.ndim - 1)
        signal, noise = alpha[t - back[0]] ** alpha_power, sigma[t - back[1]] ** sigma_power
        x_t = signal.reshape(by_image) * x0 + noise.reshape(by_image) * eps
        tensors = {"eps": eps, "x0": x0, "x_t": x_t}
        gap = predict(tensors[fed], t if told is None else told(t)) - tensors[target]
        gap = gap.square() if distance is None else distance(gap)
        return gap.flatten(1).mean(dim=1) if reduce is None else reduce(gap)

    return loss


def _unreshaped(
    predict, alpha: Tensor, sigma: Tensor, x0: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    return (predict(alpha[t] * x0 + sigma[t] * eps, t) - eps).square().mean(dim=(1, 2, 3))


_TABLE = torch.cat(
    [torch.ones(1), torch.cumprod(1 - torch.linspace(1e-2, 0.3, 12), 0)]
)  # alpha-bar
_TIMES = torch.tensor([1, 4, 9, 12])
# four images of 4x4 pixels: a factor per image that is not reshaped multiplies the columns,
# and nothing complains
_CASE = (
    _TABLE.sqrt(),
    (1 - _TABLE).sqrt(),
    seeded(4, 1, 4, 4, seed=0),
    _TIMES,
    seeded(4, 1, 4, 4, seed=1),
)
_COLOURED = (*_CASE[:2], seeded(4, 3, 4, 4, seed=7), _TIMES, seeded(4, 3, 4, 4, seed=8))


def _stops_gradients(attempt) -> bool:
    """Whether a net's weight would learn nothing from the loss."""
    weight = torch.tensor(0.3, requires_grad=True)
    try:
        with torch.enable_grad():
            loss = attempt(lambda x_t, t: weight * x_t, *(a.clone() for a in _CASE))
            return torch.autograd.grad(loss.sum(), weight, allow_unused=True)[0] is None
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ):  # no graph at all, or a tensor with gradients handed to NumPy
        return True


def _redraws(attempt) -> bool:
    """Whether the same arguments give another loss."""
    one, two = (attempt(_toy_net, *(a.clone() for a in _CASE)) for _ in range(2))
    return other_end(one, two)


_ROOT_TOO_MANY = (
    "A root too many: the tables `alpha` and `sigma` hold the roots already, the factors of "
    "the jump. (The paper's table is alpha-bar, our alpha squared.)"
)
_ONE_EARLIER = (
    "The picture is of time t - 1 where t is meant. In these tables index 0 is the clean "
    "image, so time t has index t: alpha[t], sigma[t]."
)
_SQUEEZED = (
    "The channel axis is squeezed away, which goes only for grey images, C = 1. Average over "
    "channels, rows and "
    "columns: dim=(1, 2, 3)."
)

NOISE_LOSS = Exercise(
    name="noise_loss",
    solution=_squared(),
    cases=[
        (_toy_net, *_CASE),
        (lambda x_t, t: torch.zeros_like(x_t), *_CASE),
        (_toy_net, *_COLOURED),
    ],
    wrong_turns=[
        (
            _unreshaped,
            "alpha[t] has one number an image, shape [B], and is multiplying the last axis, "
            "the columns. It went "
            "through only because B is the width here: reshape to [B, 1, 1, 1] first.",
        ),
        (
            _squared(alpha_power=2),
            "The image is multiplied by alpha-bar. The jump has its root: the table `alpha` "
            "already holds it, so "
            "use alpha[t] as it is.",
        ),
        (
            _squared(alpha_power=2, sigma_power=2),
            "alpha-bar and sigma squared are variances. A jump multiplies by their roots, "
            "alpha[t] and sigma[t].",
        ),
        (
            _squared(sigma_power=2),
            "The noise is multiplied by sigma squared, a variance. The noise has spread 1, "
            "so its factor is the "
            "spread wanted: sigma[t].",
        ),
        (
            _squared(target="x0"),
            "This compares with the image. The label is the noise that was added, eps.",
        ),
        (
            _squared(target="x_t"),
            "This compares with the noisy image that the net was given. The label is the "
            "noise alone, eps.",
        ),
        (
            _squared(distance=torch.abs),
            "This is the absolute error. Its best answer is the median; Algorithm 1 squares, "
            "whose best answer is "
            "the mean, and the samplers need the mean.",
        ),
        (
            _squared(reduce=lambda gap: gap.sum(dim=(1, 2, 3))),
            "This is the sum over the pixels, as the paper writes the norm. Take the mean, "
            "so that the loss does not "
            "depend on the size of the image: 1 is then the loss of a net that says nothing.",
        ),
        (
            _squared(reduce=lambda gap: gap.mean()),
            "This averages over the whole batch. Keep one number an image, [B]: we want to "
            "see the loss by time.",
        ),
        (
            _squared(told=torch.zeros_like),
            "The net is not told the time: predict(x_t, t).",
        ),
        (
            _squared(told=lambda t: t - 1),
            "The net is told t - 1 but gets a picture of time t. In these tables index 0 is "
            "the clean image, so time "
            "t has index t.",
        ),
        (_squared(alpha_power=0.5), _ROOT_TOO_MANY),
        (_squared(sigma_power=0.5), _ROOT_TOO_MANY),
        (_squared(alpha_power=0.5, sigma_power=0.5), _ROOT_TOO_MANY),
        (_squared(back=(1, 0)), _ONE_EARLIER),
        (_squared(back=(0, 1)), _ONE_EARLIER),
        (_squared(back=(1, 1)), _ONE_EARLIER),
        (
            _squared(fed="x0"),
            "The net is fed the clean image, in which there is no noise to see. It gets x_t.",
        ),
        (
            _squared(fed="eps"),
            "The net is fed the noise alone, the very label. It gets x_t.",
        ),
        (
            lambda predict, alpha, sigma, *case: _squared()(
                predict, alpha, (1 - alpha).sqrt(), *case
            ),
            "1 - alpha is no variance: alpha is a root, and sigma is sqrt(1 - alpha^2), which "
            "the table `sigma` holds. Use sigma[t].",
        ),
        (
            lambda predict, alpha, sigma, *case: _squared()(predict, sigma, alpha, *case),
            "The tables are exchanged: alpha[t] multiplies the image, sigma[t] the noise.",
        ),
        (
            _squared(reduce=lambda gap: gap.flatten(1).mean(dim=1).sqrt()),
            "A root is taken of the mean. Algorithm 1 has the squared error itself: its floor "
            "and its gradient are those of the square.",
        ),
        (_squared(reduce=lambda gap: gap.mean(dim=(2, 3)).squeeze(1)), _SQUEEZED),
        (_squared(reduce=lambda gap: gap.squeeze(1).mean(dim=(1, 2))), _SQUEEZED),
        (
            _squared(reduce=lambda gap: gap[:, 0].mean(dim=(1, 2))),
            "This looks at the first channel alone. Grey images have no other, but coloured "
            "ones have three.",
        ),
    ],
    praise="Right. A net that always answers 0 has a loss of about 1 here: the mean of eps "
    "squared.",
    habits=[
        (
            _stops_gradients,
            "No gradient comes out of this loss, so no net could learn from it: "
            "loss.backward() would stop. Stay with "
            "tensors from predict to the mean: no .item(), .detach(), .numpy() or "
            "torch.tensor(...), and no "
            "torch.no_grad().",
        ),
        (
            _redraws,
            "Two calls give two losses: noise is drawn inside. The eps that is given goes "
            "into x_t, and the very same is the label, or the net is asked for noise that it "
            "can't see.",
        ),
    ],
    known_errors=[
        (
            "must match the size of tensor",
            "alpha[t] has one number an image, [B]. It takes three more axes to multiply [B, "
            "C, H, W]: alpha[t][:, None, None, None], or .reshape(-1, 1, 1, 1).",
        ),
        (
            "_toy_net() missing",
            "The net is not told the time: predict(x_t, t).",
        ),
    ],
    advice="the mean over an image of the square of predict(x_t, t) - eps",
)
