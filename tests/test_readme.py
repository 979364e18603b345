"""What the README says to type does run."""

import re
import shlex
from pathlib import Path

from tools.launcher import commands, lessons

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_library_alone():
    """Its lines of Python, with two steps in place of a hundred and of twenty."""
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    short = code.replace("steps=100", "steps=2").replace("times(20)", "times(2)")
    assert "times(2)" in short and "steps=2)" in short
    scope = {}
    exec(short, scope)
    assert scope["pictures"].shape == (16, 1, 28, 28)
    assert scope["pictures"].isfinite().all()


def test_every_command_that_is_shown_is_there():
    shown = re.findall(r"(?:python3|py) course\.py ([a-z]+)|`course\.py ([a-z]+)", README)
    named = {one or other for one, other in shown}
    assert {"lab", "reset", "test", "doctor", "html"} <= named
    assert named <= {*commands.OWN, *commands.PASSED_ON}


def test_the_shown_lesson_is_one():
    for line in re.findall(r"`python3 course\.py (?:lab|reset|html) ([^`]+)`", README):
        words = [word for word in shlex.split(line) if not word.startswith("-")]
        for word in words:
            assert lessons.named(word.removeprefix("my/")), line
