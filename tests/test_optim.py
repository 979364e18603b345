"""Muon: its orthogonal step against singular values and a plain iteration, its other half
against torch's AdamW.
"""

import copy

import pytest
import torch
from torch import nn

from course_lib.optim import NEWTON_SCHULZ, Muon, orthogonalize

SHAPES = [(8, 8), (16, 9), (9, 16), (64, 576), (4, 1)]


def plain_newton_schulz(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The iteration as it was published, X -> a X + (b A + c A^2) X with A = X X^T, in
    float64.
    """
    a, b, c = NEWTON_SCHULZ
    X = matrix.double() / matrix.double().norm()
    for _ in range(iterations):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X


def random_conv_net() -> nn.Sequential:
    """A net with weights of one, two and four dimensions, two of them of one shape."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


def gradients(net: nn.Module, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator) for p in net.parameters()]


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int):
    for p, g in zip(net.parameters(), gradients(net, seed), strict=True):
        p.grad = g
    optimizer.step()


# ---- orthogonalize


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_singular_values_are_about_one_and_vectors_stay(shape):
    matrix = torch.randn(shape)
    found = orthogonalize(matrix)
    assert (found.shape, found.dtype) == (shape, torch.float32)
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    in_place = U.T @ found @ Vh.T  # diagonal where found has the matrix's own singular vectors
    values = in_place.diagonal()
    reached = (
        S > 0.01 * matrix.norm()
    )  # what is smaller still takes more than five iterations to come up
    assert reached.sum() >= len(S) - 1
    assert values[reached].min() > 0.6
    assert values.max() < 1.3
    torch.testing.assert_close(in_place, torch.diag(values), rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_the_plain_iteration(shape):
    matrix = torch.randn(shape)
    for iterations in (1, 3, 5):
        expected = plain_newton_schulz(matrix, iterations)
        torch.testing.assert_close(
            orthogonalize(matrix, iterations).double(), expected, rtol=0, atol=1e-3
        )


def test_scale_does_not_matter_and_zero_stays_zero():
    matrix = torch.randn(6, 10)
    torch.testing.assert_close(
        orthogonalize(1e4 * matrix), orthogonalize(matrix), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(
        orthogonalize(1e-3 * matrix), orthogonalize(matrix), rtol=1e-2, atol=1e-3
    )
    assert (orthogonalize(torch.zeros(6, 10)) == 0).all()
    before = matrix.clone()
    orthogonalize(matrix)
    assert torch.equal(matrix, before)


@pytest.mark.parametrize("shape", [(3, 5, 9), (3, 9, 5), (2, 2, 4, 4)], ids=str)
def test_a_stack_is_done_matrix_by_matrix(shape):
    stack = torch.randn(shape)
    found = orthogonalize(stack).reshape(-1, *shape[-2:])
    for one, matrix in zip(found, stack.reshape(-1, *shape[-2:]), strict=True):
        torch.testing.assert_close(one, orthogonalize(matrix), rtol=1e-4, atol=1e-5)


# ---- the optimizer


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_all_but_convolutions_is_adam(weight_decay):
    net = random_conv_net()
    twin = copy.deepcopy(net)
    ours = Muon(net, lr=3e-3, weight_decay=weight_decay)
    theirs = torch.optim.AdamW(
        twin.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=weight_decay
    )
    for k in range(20):
        step(net, ours, k)
        step(twin, theirs, k)
    others = [
        (p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True) if p.ndim != 4
    ]
    assert len(others) == 7
    for p, q in others:
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_convolutions_step_by_the_formula(weight_decay):
    """Momentum, Nesterov's look ahead, the plain iteration on [out, in k k], and 0.2
    sqrt(max(m, n)): in float64.
    """
    net, lr = random_conv_net(), 0.02
    optimizer = Muon(net, lr=lr, momentum=0.9, weight_decay=weight_decay)
    index = [i for i, p in enumerate(net.parameters()) if p.ndim == 4]
    expected = {i: list(net.parameters())[i].detach().double().clone() for i in index}
    momentum = dict.fromkeys(index, 0.0)
    for k in range(4):
        step(net, optimizer, k)
        for i in index:
            g = gradients(net, k)[i].double()
            momentum[i] = 0.9 * momentum[i] + 0.1 * g
            matrix = (0.1 * g + 0.9 * momentum[i]).flatten(1)
            move = plain_newton_schulz(matrix) * 0.2 * max(matrix.shape) ** 0.5
            expected[i] = (1 - lr * weight_decay) * expected[i] - lr * move.reshape(g.shape)
    for i in index:
        torch.testing.assert_close(
            list(net.parameters())[i].double(), expected[i], rtol=0, atol=1e-4
        )


@pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9"
)
def test_against_torchs_muon():
    """Theirs takes only matrices and iterates in bfloat16: the moves agree in direction to 1 %
    and in size to 3 %.
    """
    conv = nn.Conv2d(6, 12, 3, bias=False)
    start = conv.weight.detach().clone()
    matrix = nn.Parameter(start.flatten(1).clone())
    ours = Muon([conv.weight], lr=0.02, momentum=0.95)
    theirs = torch.optim.Muon(
        [matrix], lr=0.02, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    for k in range(5):
        conv.weight.grad = gradients(conv, k)[0]
        matrix.grad = gradients(conv, k)[0].flatten(1)
        ours.step()
        theirs.step()
    a, b = (conv.weight - start).flatten(), (matrix - start.flatten(1)).flatten()
    assert torch.cosine_similarity(a, b, dim=0) > 0.99
    assert (a.norm() / b.norm()).item() == pytest.approx(1, abs=0.03)


def test_a_step_is_about_the_size_of_adams():
    """The promise of the factor 0.2 sqrt(max(m, n)): a root mean square of 0.2 times the
    learning rate.
    """
    conv = nn.Conv2d(32, 64, 3, bias=False)
    start, optimizer = conv.weight.detach().clone(), Muon(conv, lr=1e-2)
    step(conv, optimizer, 0)
    assert ((conv.weight - start).square().mean().sqrt() / 1e-2).item() == pytest.approx(
        0.2, rel=0.25
    )


def test_state_goes_on_as_if_never_saved(tmp_path):
    net = random_conv_net()
    optimizer = Muon(net, lr=1e-2)
    for k in range(3):
        step(net, optimizer, k)
    torch.save(
        {"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt"
    )
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    twin = random_conv_net()
    twin.load_state_dict(saved["net"])
    resumed = Muon(twin, lr=0.5)  # the rate comes with the state
    resumed.load_state_dict(saved["optimizer"])
    for k in range(3, 6):
        step(net, optimizer, k)
        step(twin, resumed, k)
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_parameters_without_gradient_stay():
    net = random_conv_net()
    before = copy.deepcopy(net.state_dict())
    optimizer = Muon(net, lr=0.1, weight_decay=0.5)
    optimizer.step()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    optimizer.step()
    moved = [
        name
        for name, value in net.state_dict().items()
        if not torch.equal(value, before[name])
    ]
    assert moved == ["0.weight"]


def test_closure_is_run_with_gradients_and_its_loss_returned():
    net = nn.Linear(2, 1)
    optimizer = Muon(net, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = net(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first


def test_it_trains():
    """A convolution finds the kernel that made its targets."""
    teacher, student = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3)
    optimizer, x = Muon(student, lr=0.02), torch.randn(64, 2, 8, 8)
    losses = []
    for k in range(150):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - k / 150)
        optimizer.zero_grad()
        loss = (student(x) - teacher(x)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 1000


def test_muon_takes_named_matrices_too():
    """A named matrix moves as a 1x1 convolution with the same numbers; others as by Adam."""
    start, grad = torch.randn(6, 4), torch.randn(6, 4)
    named, plain = (torch.nn.Parameter(start.clone()) for _ in range(2))
    conv = torch.nn.Parameter(start[:, :, None, None].clone())
    optimizer = Muon([named, plain, conv], lr=1e-2, matrices=[named])
    named.grad, plain.grad, conv.grad = grad, grad.clone(), grad[:, :, None, None].clone()
    optimizer.step()
    torch.testing.assert_close(named, conv[:, :, 0, 0])
    assert not torch.allclose(named, plain)
    torch.testing.assert_close(plain, start - 1e-2 * grad.sign(), rtol=0, atol=1e-5)
