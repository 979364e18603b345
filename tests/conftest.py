"""What every test starts from: one thread, a fixed seed, and helpers whose assertions explain
themselves.
"""

import pytest
import torch
from launch import course, pip  # noqa: F401, the launcher's fixtures

# contracts.py holds no test of its own, so that pytest has to be told to explain its
# assertions
pytest.register_assert_rewrite("contracts")

# Small tensors are fastest on one thread, and sums come out the same bit for bit. Notebooks
# run in processes of their own and keep all their threads.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers whichever tests ran before it, and leaves torch's
    global state as it was.
    """
    torch.manual_seed(0)
    yield
    assert torch.is_grad_enabled(), "a test left gradients switched off"
    assert torch.get_default_dtype() == torch.float32, "a test left another default dtype"


@pytest.fixture
def generator():
    """A generator with a seed of its own."""
    return torch.Generator().manual_seed(1)


@pytest.fixture
def closed():
    """No figure is open before, and none is left open."""
    from matplotlib import pyplot as plt

    plt.close("all")
    yield
    plt.close("all")
