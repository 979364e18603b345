"""The samplers and targets against Hugging Face's diffusers, step by step, on the same model
and the same noise.

diffusers has no clean index: their time k is our k + 1. Their tables are given our float64
values where they keep them in float32, so that the formulas are compared and not the rounding.
"""

import numpy as np
import pytest
import torch

from course_lib import (
    TARGETS,
    Denoiser,
    Draws,
    Schedule,
    mixture_denoiser,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
    sample_unipc,
)

diffusers = pytest.importorskip("diffusers")

MEANS = torch.tensor(
    [[-1.0, -0.5, 0.3], [0.2, 1.0, -0.4], [1.1, -0.5, 0.0]], dtype=torch.float64
)
PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def capped_cosine() -> Schedule:
    """The cosine as the others have it, with beta capped at 0.999 and so with alpha above 0 at
    the end.
    """
    exact = Schedule.cosine()
    beta = (1 - (exact.alpha[1:] / exact.alpha[:-1]) ** 2).clamp(max=0.999)
    alpha_bar = torch.cat([torch.ones(1).double(), (1 - beta).cumprod(dim=0)])
    return Schedule(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


SCHEDULES = {"linear": Schedule.linear(), "cosine": capped_cosine()}


def wavy_net(schedule, target):
    """A deterministic model of `target` that no formula simplifies: a mixture's exact answer,
    with waves on it.
    """
    exact = mixture_denoiser(schedule, MEANS, 0.3)

    def net(x_t, t, cond=None):
        alpha, sigma = schedule.at(t, x_t)
        x0 = exact(x_t, t)[0] + 0.1 * torch.sin(3 * x_t + sigma)
        a, b = TARGETS[target](alpha, sigma)
        return a * x0 + b * (x_t - alpha * x0) / sigma

    return net


def theirs(name, schedule, target="eps", **options):
    """One of their schedulers on our schedule."""
    beta = 1 - (schedule.alpha[1:] / schedule.alpha[:-1]) ** 2
    scheduler = getattr(diffusers, name)(
        trained_betas=beta.numpy(),
        prediction_type=PREDICTION[target],
        timestep_spacing="trailing",
        **options,
    )
    torch.testing.assert_close(scheduler.betas.double(), beta, rtol=1e-6, atol=0)
    scheduler.betas, scheduler.alphas = beta, 1 - beta
    scheduler.alphas_cumprod = schedule.alpha[1:] ** 2
    return scheduler


def their_path(scheduler, net, x, n, shift=1, **options):
    """Every x_t of their run, the noise that it starts from first."""
    scheduler.set_timesteps(n)
    path = [x]
    for k in scheduler.timesteps:
        t = torch.full((len(x),), int(k) + shift)
        path.append(
            scheduler.step(net(path[-1].double(), t), k, path[-1], **options).prev_sample
        )
    return path


def assert_same_path(ours, path, atol):
    ours = list(ours)
    assert len(ours) == len(path)
    for step, x in zip(ours, path, strict=True):
        torch.testing.assert_close(step.x_t, x.double(), rtol=0, atol=atol)


@pytest.fixture
def x():
    return torch.randn(16, 3, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("n", [10, 50, 1000])
def test_ddpm(schedule, variance, n, x):
    net = wavy_net(schedule, "eps")
    scheduler = theirs(
        "DDPMScheduler", schedule, variance_type=f"fixed_{variance}", clip_sample=False
    )
    path = their_path(scheduler, net, x, n, generator=torch.Generator().manual_seed(4))
    times = schedule.times(n)
    assert [int(k) + 1 for k in scheduler.timesteps] == times[:-1]
    ours = list(
        sample_ddpm(
            Denoiser(net, schedule, "eps"),
            schedule,
            x,
            times,
            variance=variance,
            draws=Draws(4),
        )
    )
    if variance == "large" and n < 1000:
        # Theirs leaves out the last noise by asking for time 0, which a stride never meets: it
        # adds beta's worth of noise to the finished sample. Ours must differ there, and there
        # only.
        extra = (path.pop() - ours.pop().x_t).std().item()
        assert extra == pytest.approx(
            schedule.sigma[times[-2]].item(), rel=0.3
        )  # 48 numbers: 10 % is one error
    assert_same_path(ours, path, atol=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [10, 50])
@pytest.mark.parametrize("target", PREDICTION)
def test_ddim(schedule, eta, n, target, x):
    net = wavy_net(schedule, target)
    scheduler = theirs(
        "DDIMScheduler", schedule, target, clip_sample=False, set_alpha_to_one=True
    )
    path = their_path(
        scheduler, net, x, n, eta=eta, generator=torch.Generator().manual_seed(4)
    )
    denoise = Denoiser(net, schedule, target)
    assert_same_path(
        sample_ddim(denoise, schedule, x, schedule.times(n), eta=eta, draws=Draws(4)),
        path,
        atol=1e-8,
    )


MULTISTEP = {
    "dpmpp_2m": (
        sample_dpmpp_2m,
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_type": "midpoint"},
    ),
    "unipc": (
        sample_unipc,
        "UniPCMultistepScheduler",
        {"predict_x0": True, "solver_type": "bh2"},
    ),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("n", [5, 10, 20, 50])
@pytest.mark.parametrize("target", PREDICTION)
@pytest.mark.parametrize(("sampler", "name", "options"), MULTISTEP.values(), ids=MULTISTEP)
def test_multistep(sampler, name, options, schedule, n, target, x):
    """They work in float32, so the paths agree to 1e-4 (their coefficients, kept in float32,
    cost the rest).
    """
    net = wavy_net(schedule, target)
    scheduler = theirs(
        name,
        schedule,
        target,
        solver_order=2,
        lower_order_final=True,
        final_sigmas_type="zero",
        **options,
    )
    path = their_path(scheduler, net, x, n)
    assert_same_path(
        sampler(Denoiser(net, schedule, target), schedule, x, schedule.times(n)),
        path,
        atol=1e-4,
    )


def even_times(n: int) -> list[int]:
    """n + 1 times from 1000 over 1 to 0, as their schedulers for flows take them; n - 1
    divides 999.
    """
    return [1000 - 999 * i // (n - 1) for i in range(n)] + [0]


@pytest.mark.parametrize("n", [4, 10, 28])
def test_ddim_on_the_flow_schedule_is_eulers_method(n, x):
    schedule, times = Schedule.flow(), even_times(n)
    net = wavy_net(schedule, "flow")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(sigmas=(np.array(times[:-1]) / 1000).tolist())
    path = [x]
    for k, t in zip(scheduler.timesteps, times[:-1], strict=True):
        velocity = net(path[-1].double(), torch.full((len(x),), t))
        path.append(scheduler.step(velocity, k, path[-1]).prev_sample.double())
    assert_same_path(
        sample_ddim(Denoiser(net, schedule, "flow"), schedule, x, times), path, atol=1e-5
    )


@pytest.mark.parametrize("n", [4, 10, 28])
def test_heun_on_the_flow_schedule(n, x):
    schedule, times = Schedule.flow(), even_times(n)
    net = wavy_net(schedule, "flow")
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    scheduler.set_timesteps(n)
    assert len(scheduler.timesteps) == 2 * n - 1
    y, looks = x, [times[0], *(t for t in times[1:-1] for _ in range(2))]
    for k, t in zip(scheduler.timesteps, looks, strict=True):
        assert k.item() == pytest.approx(t, abs=1e-3)
        y = scheduler.step(
            net(y.double(), torch.full((len(x),), t)), k, y
        ).prev_sample.double()
    *_, done = sample_heun(Denoiser(net, schedule, "flow"), schedule, x, times)
    torch.testing.assert_close(done.x_t, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_add_noise_and_velocity(name, x):
    schedule, eps = Schedule.linear(), torch.randn(16, 3, dtype=torch.float64)
    scheduler, k = theirs(name, schedule), torch.arange(0, 1000, 63)
    torch.testing.assert_close(
        scheduler.add_noise(x, eps, k), schedule.add_noise(x, k + 1, eps)
    )
    a, b = TARGETS["v"](*schedule.at(k + 1, x))
    torch.testing.assert_close(scheduler.get_velocity(x, eps, k), a * x + b * eps)


def test_our_cosine_is_theirs_up_to_the_cap():
    beta = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").betas.double()
    ours = Schedule.cosine()
    torch.testing.assert_close(
        1 - (ours.alpha[1:-1] / ours.alpha[:-2]) ** 2, beta[:-1], rtol=1e-4, atol=1e-6
    )
    assert beta[-1] == pytest.approx(0.999)
    assert ours.alpha[-1] == 0


@pytest.mark.parametrize(
    ("ours", "options"),
    [
        (
            Schedule.scaled_linear,
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        ),
        (Schedule.linear, {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
    ],
    ids=["scaled_linear", "linear"],
)
@pytest.mark.parametrize("T", [1000, 250])
def test_betas_are_theirs(ours, options, T):
    """Stable Diffusion's among them. They keep float32: a product of 1000 is off by 1e-5."""
    scheduler, schedule = diffusers.DDIMScheduler(T, **options), ours(T)
    beta = 1 - (schedule.alpha[1:] / schedule.alpha[:-1]) ** 2
    torch.testing.assert_close(scheduler.betas.double(), beta, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        scheduler.alphas_cumprod.double(), schedule.alpha[1:] ** 2, rtol=1e-4, atol=0
    )
    taken = Schedule.from_betas(scheduler.betas)
    torch.testing.assert_close(
        scheduler.alphas_cumprod.double(), taken.alpha[1:] ** 2, rtol=1e-4, atol=0
    )
    assert taken.T == len(scheduler.betas)
    assert taken.alpha[0] == 1
