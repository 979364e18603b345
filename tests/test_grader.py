"""Graders: right, wrong with the hint that fits, wrong in an unforeseen way, and stubs that await their reader."""

import importlib
import pkgutil

import pytest
import torch

import course_lib.exercises
from course_lib.exercises import Exercise, Verdict

SQUARE = Exercise(
    "area",
    lambda side, scale: scale * side**2,
    [(torch.tensor([1.0, 2.0, 3.0]), 2), (torch.tensor([[0.5]]), 0.1)],
    [
        (lambda side, scale: scale * side, "The side is not squared."),
        (lambda side, scale: (scale * side) ** 2, "The scale is squared too."),
        (lambda side, scale: side @ side, "This wrong turn does not fit the second case."),
    ],
    praise="Right: an area grows with the square.",
)


def test_right():
    verdict = SQUARE(lambda side, scale: side * side * scale)
    assert verdict == Verdict("right", "Right: an area grows with the square.")
    assert verdict
    assert repr(verdict) == "✔ Right: an area grows with the square."


def test_rounding_is_forgiven_and_more_is_not():
    assert SQUARE(lambda side, scale: scale * side**2 * (1 + 5e-5))
    assert not SQUARE(lambda side, scale: scale * side**2 * (1 + 5e-3))
    assert SQUARE(lambda side, scale: scale * side.double() ** 2)  # another dtype is as good


@pytest.mark.parametrize("i", [0, 1])
def test_known_wrong_turns_get_their_hint(i):
    wrong, hint = SQUARE.wrong_turns[i]
    verdict = SQUARE(wrong)
    assert verdict == Verdict("wrong", hint)
    assert not verdict
    assert repr(verdict) == "✘ " + hint


def stub(side, scale):
    """What a lesson holds before its reader comes."""
    raise NotImplementedError


@pytest.mark.parametrize("attempt", [stub, lambda side, scale: None, lambda side, scale: ...], ids=str)
def test_stubs_await_their_reader(attempt):
    verdict = SQUARE(attempt)
    assert verdict.state == "awaits"
    assert "area awaits its reader" in verdict.text
    assert not verdict
    assert repr(verdict).startswith("… ")


def test_errors_of_the_reader_are_told_in_a_line():
    verdict = SQUARE(lambda side, scale: side @ torch.zeros(7))
    assert verdict.state == "wrong"
    assert verdict.text.startswith("area stopped with RuntimeError: ")
    verdict = SQUARE(lambda side: side)
    assert verdict.text.startswith("area stopped with TypeError: ")
    verdict = SQUARE(lambda side, scale: "text")
    assert verdict.state == "wrong"


def test_the_unforeseen_is_measured():
    verdict = SQUARE(lambda side, scale: scale * side**2 + 0.25)
    assert verdict == Verdict(
        "wrong", "area is off by up to 0.25 (with 2): compare each factor with the equation above."
    )
    verdict = SQUARE(lambda side, scale: (scale * side**2).sum())
    assert verdict == Verdict("wrong", "area returned shape (); it should be (3,).")
    verdict = SQUARE(lambda side, scale: scale * side**2 if scale == 2 else side)
    assert "(with 0.1)" in verdict.text  # the case that differs, not the first


def test_signs_do_not_cancel():
    """A helper that sums signed errors would take [1, -1] for [0, 0]."""
    exercise = Exercise("zeros", lambda: torch.zeros(2), [()])
    assert not exercise(lambda: torch.tensor([1.0, -1.0]))
    assert not exercise(lambda: torch.tensor([float("nan"), 0.0]))
    assert not exercise(lambda: torch.zeros(1))
    assert not exercise(lambda: torch.zeros(2, 1))


def test_an_attempt_cannot_spoil_the_cases():
    def greedy(side, scale):
        return side.mul_(side).mul_(scale)

    assert SQUARE(greedy)
    assert SQUARE(greedy)
    assert SQUARE.cases[0][0].tolist() == [1, 2, 3]


def test_or_library():
    attempt = lambda side, scale: side * side * scale  # noqa: E731
    assert SQUARE.or_library(attempt) is attempt
    assert SQUARE.or_library(stub) is SQUARE.solution
    assert SQUARE.or_library(lambda side, scale: side) is SQUARE.solution


def test_shown_as_one_safe_line_with_more_than_colour():
    for state, sign in (("right", "✔"), ("wrong", "✘"), ("awaits", "…")):
        shown = Verdict(state, "shape <3> & more")._repr_html_()
        assert "shape &lt;3&gt; &amp; more" in shown
        assert sign in shown
        assert 'role="status"' in shown


# ---- the exercises of the lessons


def lessons_exercises() -> dict[str, Exercise]:
    """Every Exercise of every module in course_lib.exercises."""
    found = {}
    for info in pkgutil.iter_modules(course_lib.exercises.__path__):
        module = importlib.import_module(f"course_lib.exercises.{info.name}")
        found |= {f"{info.name}.{key}": value for key, value in vars(module).items() if isinstance(value, Exercise)}
    return found


EXERCISES = lessons_exercises()


TURNS = [(name, i) for name, exercise in EXERCISES.items() for i in range(len(exercise.wrong_turns))]


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_a_lesson_s_solution_is_right_and_runs_on(exercise):
    assert exercise(exercise.solution) == Verdict("right", exercise.praise)
    assert exercise.or_library(exercise.solution) is exercise.solution
    assert len(exercise.wrong_turns) >= 1


@pytest.mark.parametrize(("name", "i"), TURNS)
def test_a_lesson_s_wrong_turn_gets_its_hint(name, i):
    exercise = EXERCISES[name]
    wrong, hint = exercise.wrong_turns[i]
    assert exercise(wrong) == Verdict("wrong", hint)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_a_lesson_s_stub_awaits_its_reader(exercise):
    def stub(*args, **kwargs):
        raise NotImplementedError

    assert exercise(stub).state == "awaits"
    assert exercise.or_library(stub) is exercise.solution


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_nonsense_is_no_success_in_a_lesson(exercise):
    assert exercise(lambda *arguments: torch.zeros(3)).state == "wrong"
    assert exercise(lambda *arguments: arguments[99]).state == "wrong"
