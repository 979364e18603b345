"""Graders: right, wrong with the hint that fits, wrong in an unforeseen way, and stubs that
await their reader.
"""

import importlib
import pkgutil
from dataclasses import replace

import numpy as np
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


def stub_with_a_note(side, scale):
    raise NotImplementedError("one line here")


@pytest.mark.parametrize("attempt", [stub, stub_with_a_note, lambda side, scale: ...], ids=str)
def test_stubs_await_their_reader(attempt):
    verdict = SQUARE(attempt)
    assert verdict.state == "awaits"
    assert (
        verdict.text
        == "area awaits its reader: write the stub above, then run both cells again."
    )
    assert not verdict
    assert repr(verdict).startswith("… ")


def test_pytorch_s_not_implemented_is_no_stub():
    verdict = SQUARE(lambda side, scale: torch.softmax(torch.tensor([1, 2]), dim=0))
    assert verdict.state == "wrong"
    assert (
        verdict.text.startswith("area stopped with NotImplementedError: ")
        and "'Long'" in verdict.text
    )


def test_errors_of_the_reader_are_told_in_a_line():
    verdict = SQUARE(lambda side, scale: side @ torch.zeros(7))
    assert verdict.state == "wrong"
    assert verdict.text.startswith("area stopped with RuntimeError: ")
    verdict = SQUARE(lambda side: side)
    assert verdict.text.startswith("area stopped with TypeError: ")


KINDS = {
    "area returned nothing: is `return` missing?": lambda side, scale: None,
    "area returned a tuple of 2 tensors; torch.stack makes one tensor of them.": lambda side, scale: (
        side,
        side,
    ),
    "area returned a list of 3 tensors; torch.stack makes one tensor of them.": lambda side, scale: (
        [side] * 3
    ),
    "area returned a list of 1 tensor; torch.stack makes one tensor of them.": lambda side, scale: [
        side
    ],
    "area returned a list; torch.tensor makes a tensor of it, and the cells below need one.": (
        lambda side, scale: (scale * side**2).tolist()
    ),
    "area returned a NumPy array; torch.from_numpy makes a tensor of it, and the cells below "
    "need one.": (lambda side, scale: (scale * side**2).numpy()),
    "area returned a plain number; it should be a tensor of shape (3,).": lambda side, scale: (
        1.5
    ),
    "area returned a str; it should be a tensor of shape (3,).": lambda side, scale: "text",
    "area returned a list; it should be a tensor of shape (3,).": lambda side, scale: [],
    "area returned a generator; it should be a tensor of shape (3,).": lambda side, scale: (
        s for s in side
    ),
}


@pytest.mark.parametrize(("text", "attempt"), KINDS.items(), ids=KINDS)
def test_what_is_no_tensor_is_named(text, attempt):
    assert SQUARE(attempt) == Verdict("wrong", text)


def test_a_return_may_be_missing_in_one_branch():
    assert SQUARE(lambda side, scale: scale * side**2 if scale == 2 else None).text == next(
        iter(KINDS)
    )


def test_a_number_may_be_any_number():
    exercise = Exercise("half", lambda n: n / 2, [(1,), (3,)])
    for kind in (float, torch.tensor, np.float32, np.float64):
        assert exercise(lambda n, kind=kind: kind(n / 2))
    assert exercise(lambda n: torch.tensor(n / 2, requires_grad=True))
    assert exercise(lambda n: [n / 2]) == Verdict(
        "wrong", "half returned a list; it should be a number."
    )
    assert (
        exercise(lambda n: (torch.tensor(n / 2),)).text
        == "half returned a tuple; it should be a number."
    )
    assert (
        exercise(lambda n: torch.tensor([n / 2])).text
        == "half returned shape (1,); it should be ()."
    )


def test_the_unforeseen_is_measured():
    verdict = SQUARE(lambda side, scale: scale * side**2 + 0.25)
    assert verdict == Verdict(
        "wrong",
        "area is off by up to 0.25 (with 2): compare each factor with the equation above.",
    )
    verdict = SQUARE(lambda side, scale: (scale * side**2).sum())
    assert verdict == Verdict("wrong", "area returned shape (); it should be (3,).")
    verdict = SQUARE(lambda side, scale: scale * side**2 if scale == 2 else side)
    assert "(with 0.1)" in verdict.text  # the case that differs, not the first


def test_nan_is_named_and_can_be_a_wrong_turn():
    quotient = Exercise(
        "quotient", lambda a, b: a / (b + 1), [(torch.ones(2), 2), (torch.zeros(2), 0)]
    )
    verdict = quotient(lambda a, b: a / (b + 1) * (a / a))
    assert verdict.text.startswith("quotient gives nan (with 0): ")
    known = replace(
        quotient, wrong_turns=[(lambda a, b: a / (b + 1) * (a / a), "Don't divide by a.")]
    )
    assert known(lambda a, b: a / a / (b + 1)) == Verdict("wrong", "Don't divide by a.")


def test_a_dtype_counts_where_later_cells_need_it():
    strict = replace(SQUARE, dtype_hint="Stay in float32.")
    assert strict(lambda side, scale: scale * side**2)
    assert strict(lambda side, scale: scale * side.double() ** 2) == Verdict(
        "wrong", "Stay in float32."
    )
    assert (
        strict(lambda side, scale: scale * side.double()).text == "The side is not squared."
    )  # values come first
    count = Exercise(
        "count", lambda a: a + 1, [(torch.tensor([1, 2]),)], dtype_hint="Count in integers."
    )
    assert count(lambda a: a.int() + 1)
    assert count(lambda a: a + 1.0) == Verdict("wrong", "Count in integers.")


def test_habits_are_looked_at_where_the_values_are_not_known_to_be_wrong():
    calls = []
    careful = replace(
        SQUARE, habits=[(lambda attempt: calls.append(attempt) or True, "A habit.")]
    )
    right, odd = (
        (lambda side, scale: scale * side**2),
        (lambda side, scale: scale * side**2 + 0.25),
    )
    assert careful(right) == careful(odd) == Verdict("wrong", "A habit.")
    assert calls == [right, odd]
    assert careful(SQUARE.wrong_turns[0][0]).text == "The side is not squared."
    assert careful(lambda side, scale: side.sum()).text.startswith("area returned shape")
    assert calls == [right, odd]
    assert replace(SQUARE, habits=[(lambda attempt: False, "A habit.")])(right)


def test_a_known_error_gets_its_hint():
    telling = replace(SQUARE, known_errors=[("Boolean value of Tensor", "No `if` here.")])
    assert telling(lambda side, scale: side if side > 0 else -side) == Verdict(
        "wrong", "No `if` here."
    )
    assert telling(lambda side, scale: side @ torch.zeros(7)).text.startswith(
        "area stopped with RuntimeError: "
    )


def test_advice_ends_the_line_of_the_unforeseen():
    verdict = replace(SQUARE, advice="count the squares")(
        lambda side, scale: scale * side**2 + 0.25
    )
    assert verdict.text == "area is off by up to 0.25 (with 2): count the squares."


def test_grading_leaves_everyone_s_random_numbers_alone():
    def careless(side, scale):
        torch.manual_seed(5)
        return side * torch.rand(1)

    before = torch.get_rng_state()
    SQUARE(careless)
    assert torch.equal(torch.get_rng_state(), before)


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


def test_or_library(capsys):
    attempt = lambda side, scale: side * side * scale  # noqa: E731
    assert SQUARE.or_library(attempt) is attempt
    assert SQUARE.or_library(stub) is SQUARE.solution
    assert capsys.readouterr().out == ""  # a right one and a stub need no word
    for wrong in (
        lambda side, scale: side,
        lambda side, scale: None,
        lambda side, scale: side @ torch.zeros(7),
    ):
        assert SQUARE.or_library(wrong) is SQUARE.solution
        out = capsys.readouterr().out
        assert out.startswith("area: ") and "library's version" in out and out.count("\n") == 1


def test_shown_as_one_safe_line_with_more_than_colour():
    for state, sign in (("right", "✔"), ("wrong", "✘"), ("awaits", "…")):
        shown = Verdict(state, "shape <3> & more")._repr_html_()
        assert "shape &lt;3&gt; &amp; more" in shown
        assert sign in shown
        assert 'role="status"' in shown


# ---- the exercises of the lessons


def lessons_exercises() -> dict[str, Exercise]:
    """Every Exercise of every module in course_lib.exercises, once each: a lesson shows those
    that stand in a file beside it too.
    """
    found = {}
    for info in pkgutil.iter_modules(course_lib.exercises.__path__):
        module = importlib.import_module(f"course_lib.exercises.{info.name}")
        for key, value in vars(module).items():
            if isinstance(value, Exercise) and not any(value is x for x in found.values()):
                found[f"{info.name}.{key}"] = value
    return found


EXERCISES = lessons_exercises()


TURNS = [
    (name, i) for name, exercise in EXERCISES.items() for i in range(len(exercise.wrong_turns))
]


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

    verdict = exercise(stub)
    assert verdict.state == "awaits"
    assert (
        verdict.text
        == f"{exercise.name} awaits its reader: write the stub above, then run both cells "
        "again."
    )
    assert exercise.or_library(stub) is exercise.solution


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_a_missing_return_is_named_in_a_lesson(exercise):
    verdict = exercise(lambda *arguments: None)
    assert verdict == Verdict(
        "wrong", f"{exercise.name} returned nothing: is `return` missing?"
    )


# where an answer in another dtype, right in value, would stop a later cell
STRICT = {name: exercise for name, exercise in EXERCISES.items() if exercise.dtype_hint}


def test_which_lessons_mind_the_dtype():
    names = "images_from_bytes noise_like exact_x0 embed drop_labels reverse_step guide"
    assert {exercise.name for exercise in STRICT.values()} == set(names.split())


@pytest.mark.parametrize("exercise", STRICT.values(), ids=STRICT)
def test_a_dtype_that_would_stop_a_later_cell_gets_its_hint(exercise):
    assert exercise(lambda *case: exercise.solution(*case).double()) == Verdict(
        "wrong", exercise.dtype_hint
    )


LOOSE = {name: exercise for name, exercise in EXERCISES.items() if not exercise.dtype_hint}


@pytest.mark.parametrize("exercise", LOOSE.values(), ids=LOOSE)
def test_elsewhere_a_dtype_is_as_good_as_another(exercise):
    assert exercise(lambda *case: torch.as_tensor(exercise.solution(*case)).double())


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_nonsense_is_no_success_in_a_lesson(exercise):
    assert exercise(lambda *arguments: torch.zeros(3)).state == "wrong"
    assert exercise(lambda *arguments: arguments[99]).state == "wrong"
