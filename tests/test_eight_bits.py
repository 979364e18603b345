"""Weights in eight bits: half a scale off at most, and loaded as any others."""

import pytest
import torch
from safetensors.torch import load_file

from course_lib import weights
from course_lib.eight_bits import MOST, restored, round_weights, rounded, stored
from course_lib.models import ClassifierConfig, FashionClassifier
from course_lib.weights import WeightsError, load_weights, save_weights


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3), (2, 1, 1)])
def test_no_number_moves_by_more_than_half_a_scale(shape):
    value = torch.randn(shape) * torch.logspace(-3, 2, shape[0]).view(
        -1, *[1] * len(shape[1:])
    )
    whole, scale = rounded(value)
    assert whole.dtype == torch.int8 and whole.shape == shape and scale.shape == shape[:1]
    assert whole.flatten(1).abs().amax(dim=1).eq(MOST).all()  # the whole range is used
    off = (restored(whole, scale) - value).abs().flatten(1).amax(dim=1)
    assert (off <= 0.5001 * scale).all()


def test_a_row_of_zeros_stays_one():
    whole, scale = rounded(torch.tensor([[0.0, 0.0], [1.0, -2.0]]))
    assert restored(whole, scale)[0].tolist() == [0, 0]
    assert restored(whole, scale)[1].tolist() == pytest.approx([1, -2], abs=0.01)


def test_what_has_no_rows_is_stored_as_before():
    assert stored("a", torch.tensor([1.0, 2.0]))["a"].dtype == torch.float16
    assert stored("n", torch.tensor(3))["n"].dtype == torch.int64
    assert set(stored("w", torch.ones(2, 2))) == {"w", "w.scale"}


@pytest.fixture
def net():
    return FashionClassifier(ClassifierConfig()).eval()


def test_a_net_comes_back_from_half_the_bytes(net, tmp_path):
    large = save_weights(net, tmp_path / "large", {}, dtype=torch.float16)
    small = save_weights(net, tmp_path / "small", {}, dtype=torch.int8)
    assert small.stat().st_size < 0.6 * large.stat().st_size
    again, x = load_weights(FashionClassifier, small, device="cpu"), torch.randn(8, 1, 28, 28)
    for key, value in net.state_dict().items():
        found = again.state_dict()[key]
        assert found.dtype == value.dtype
        most = value.float().abs().max().item()
        torch.testing.assert_close(found, value, rtol=1e-3, atol=max(most / 250, 1e-6))
    with torch.no_grad():
        torch.testing.assert_close(again(x), net(x), rtol=0, atol=0.05)
    half = load_weights(FashionClassifier, small, device="cpu", dtype=torch.float16)
    assert next(half.parameters()).dtype == torch.float16


def test_storing_twice_changes_nothing_more(net, tmp_path):
    one = save_weights(net, tmp_path / "one", {}, dtype=torch.int8)
    again = load_weights(FashionClassifier, one, device="cpu")
    two = save_weights(again, tmp_path / "two", {}, dtype=torch.int8)
    once, twice = load_file(one), load_file(two)
    assert all(torch.equal(once[key], twice[key]) for key in once.keys() | twice.keys())


def test_rounded_in_place_is_what_the_file_gives_back(net, tmp_path):
    path = save_weights(net.half().float(), tmp_path / "net", {}, dtype=torch.int8)
    again = load_weights(FashionClassifier, path, device="cpu")
    round_weights(net)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[key], rtol=0, atol=0)


def test_nothing_that_is_not_finite_is_written(net, tmp_path):
    with torch.no_grad():
        next(p for p in net.parameters() if p.ndim > 1).view(-1)[3] = float("nan")
    with pytest.raises(WeightsError, match="not finite"):
        save_weights(net, tmp_path / "bad", {}, dtype=torch.int8)
    assert not (tmp_path / "bad.safetensors").exists()


def test_scales_that_fit_no_tensor_are_refused(net, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = save_weights(net, tmp_path / "net", {}, dtype=torch.int8)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    key = next(key for key in tensors if key.endswith(".scale"))
    for wrong in ({key: tensors[key][:-1]}, {"nothing.scale": tensors[key]}):
        save_file({k: v.clone() for k, v in (tensors | wrong).items()}, path, metadata)
        with pytest.raises(WeightsError, match="does not fit its own config"):
            load_weights(FashionClassifier, path, device="cpu")
    save_file({k: v for k, v in tensors.items() if k != key}, path, metadata)
    with pytest.raises(WeightsError, match="scale"):
        load_weights(FashionClassifier, path, device="cpu")


def test_the_tool_stores_a_shipped_model_and_says_whose_figures_stay(
    net, tmp_path, monkeypatch
):
    from tools import eight_bits as tool

    for module in (weights, tool):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    card = {"recipe": "fashion-classifier", "figures": {"test_accuracy": 0.9}}
    save_weights(net, tmp_path / "small", card, dtype=torch.float16)
    size = weights.read_card("small")["bytes"]
    found = tool.shrink("small")
    assert found["bytes"] < 0.6 * size and found["moved"] < 0.02
    assert found["stored"].endswith(tool.BEFORE)
    weights.verify("small")  # its card and the list say the new hash
    assert load_weights("small", device="cpu").config == net.config
    kind = tool.recipe_of("small")
    monkeypatch.setattr(type(kind), "figures", lambda self, module: {"test_accuracy": 0.8})
    again = tool.shrink("small", measure=True)
    assert again["figures"] == {"test_accuracy": 0.8} and again["stored"] == tool.STORED
    weights.verify("small")
