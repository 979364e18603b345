"""The prompt box: its steps, its refusals, and what is left of it without a kernel."""

import pytest
import torch

from course_lib import Schedule, Step
from course_lib.errors import CourseError
from course_lib.layers import CrossAttention
from course_lib.models import TextUNet, TextUNetConfig
from course_lib.models.text_unet import recorded_maps
from course_lib.widgets import PromptBox
from course_lib.widgets.words import word_maps

PLAN = Schedule.cosine()


def paint(prompt, guidance, seed):
    """Three steps of a picture whose grey is the prompt's length."""
    if prompt == "wrong":
        raise CourseError("No such word.")
    x0 = torch.full((1, 3, 8, 8), len(prompt) / 100)
    for t in (1000, 500, 0):
        alpha, sigma = PLAN.at(t, x0)
        eps = torch.full_like(x0, guidance / 10)
        yield Step(t, alpha * x0 + sigma * eps, x0, eps)


def test_a_prompt_is_painted_and_scrubbed():
    box = PromptBox(paint, PLAN, prompt="robot")
    assert box.note.value.startswith("2 steps, ") and not box.button.disabled
    assert box.children[-1] is box.scrubber
    first = box.scrubber
    box.prompt.value = "a rocket"
    box.button.click()
    assert box.scrubber is not first
    assert bytes(box.growing.value).startswith(b"\x89PNG")
    data, _ = box._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "<iframe" in data["text/html"] and data["image/png"]
    assert box.still().width > 100


def test_what_cannot_be_painted_is_a_sentence():
    box = PromptBox(paint, PLAN, prompt="wrong")
    assert box.note.value == "No such word." and not box.button.disabled
    assert box.still() is None and "text/html" not in box._repr_mimebundle_()


def test_recorded_maps_are_shares_of_a_look():
    net = TextUNet(TextUNetConfig(4, (16, 32), 1, (True, True), 4, 1, 24, 8)).eval()
    x, t, cond = torch.randn(2, 4, 8, 8), torch.tensor([3, 5]), torch.randn(2, 6, 24)
    with torch.no_grad():
        plain = net(x, t, cond)
        with recorded_maps(net) as maps:
            torch.testing.assert_close(net(x, t, cond), plain)
            net(x, t, cond[:, :1])
    looks = [m for m in net.modules() if isinstance(m, CrossAttention)]
    assert len(maps) == len(looks) / 2  # the other half look at the picture itself
    for first, second in maps.values():
        assert first.shape[:2] == (2, 6) and first.shape[2] == first.shape[3]
        torch.testing.assert_close(first.sum(1), torch.ones_like(first[:, 0]))
        assert second.shape[1] == 1 and (second == 1).all()  # one token gets all of it
    before = {name: len(found) for name, found in maps.items()}
    with torch.no_grad():
        net(x, t, cond)
    assert before == {name: len(found) for name, found in maps.items()}


def test_word_maps():
    maps = torch.zeros(2, 4, 4)
    maps[0, 0, 0], maps[1, 3, 3] = 0.5, 0.25
    strip = word_maps(torch.ones(3, 8, 8), maps, ["sun", "sea"])
    assert strip.shape[1] == 2 * 96 + 4 and strip.shape[2] == 3
    first, second = strip[-96:, :96].astype(int), strip[-96:, 100:].astype(int)
    assert first[5, 5, 2] < first[90, 90, 2] - 100  # orange has no blue
    assert second[90, 90, 2] < second[5, 5, 2] - 100
    with pytest.raises(CourseError, match="for each of 3 words"):
        word_maps(torch.ones(3, 8, 8), maps, ["a", "b", "c"])
