"""Graders: right, wrong with the hint that fits, wrong in an unforeseen way, and stubs that
await their reader.
"""

import importlib
import math
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import course_lib.exercises
from course_lib.exercises import Exercise, Verdict
from course_lib.exercises.matching import Bug, Matching, listed

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
        == "area awaits its reader: write it where the stub is, and run that cell again."
    )
    assert not verdict
    assert repr(verdict).startswith("… ")


def test_pytorch_s_not_implemented_is_no_stub():
    verdict = SQUARE(lambda side, scale: torch.softmax(torch.tensor([1, 2]), dim=0))
    assert verdict.state == "wrong"
    assert "convert with .float() first" in verdict.text and "'Long'" in verdict.text


def test_errors_of_the_reader_are_told_in_a_line():
    verdict = SQUARE(lambda side, scale: side / [1])
    assert verdict.state == "wrong"
    assert verdict.text.startswith("area stopped with TypeError: unsupported operand")
    verdict = SQUARE(lambda side: side)
    assert verdict.text.startswith("area stopped with TypeError: ")
    verdict = SQUARE(lambda side, scale: torch.zeros(2, 3).expand(5, 5, 5, 5, size=1))
    assert "\n" not in verdict.text


# PyTorch's own words, and what to do about them
RAW = {
    "Of a number x take x ** 0.5": lambda side, scale: side * torch.sqrt(scale),
    "write torch.where(condition, a, b)": lambda side, scale: side if side > 1 else -side,
    "x.log(), x.exp(), x.sqrt() for math's": lambda side, scale: math.sqrt(side) * scale,
    "PyTorch lines shapes up from the right": lambda side, scale: side * torch.ones(7),
    "Number by number it is *": lambda side, scale: side @ torch.zeros(7),
    "axes count from 0": lambda side, scale: side.sum(dim=5),
    "print its .shape": lambda side, scale: side[:, :, :, 0],
    "in Python ^ is no power": lambda side, scale: scale * side ^ 2,
    "x.to(y.dtype) turns": lambda side, scale: torch.eye(3).double() @ side,
    "convert with .float() first": lambda side, scale: torch.arange(3).mean(),
    "an index is an integer": lambda side, scale: side[side],
    "NumPy takes no tensor": lambda side, scale: (side.requires_grad_() ** 2).numpy(),
    "is unpacked, x0, eps": lambda side, scale: 0.5 * (side, scale),
}


@pytest.mark.parametrize(("hint", "attempt"), RAW.items(), ids=RAW)
def test_a_raw_error_becomes_a_hint(hint, attempt):
    verdict = SQUARE(attempt)
    assert verdict.state == "wrong" and verdict.text.startswith("area stopped: ")
    assert hint in verdict.text and "Error: " in verdict.text  # and what was said


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
        "area is off by up to 0.25, 1,000 % of the right 0.025 (with 0.1): compare each factor "
        "with the equation above.",
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
    assert (
        "inconsistent tensor size" in telling(lambda side, scale: side @ torch.zeros(7)).text
    )


def test_advice_ends_the_line_of_the_unforeseen():
    verdict = replace(SQUARE, advice="count the squares")(
        lambda side, scale: scale * side**2 + 0.25
    )
    assert verdict.text.endswith(": count the squares.")


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

    for _ in range(2):
        verdict = SQUARE(greedy)
        assert (
            verdict.state == "wrong" and "writes into its own argument, `side`" in verdict.text
        )
    assert "argument, number 1 (" in SQUARE(lambda *given: greedy(*given)).text
    assert SQUARE.cases[0][0].tolist() == [1, 2, 3]
    assert SQUARE(lambda side, scale: greedy(side.clone(), scale))
    assert SQUARE(lambda side, scale: greedy(1 * side, scale))
    # a known mistake is told first
    assert SQUARE(lambda side, scale: side.mul_(scale)).text == "The side is not squared."


def test_an_attempt_cannot_use_up_a_list():
    total = Exercise("total", lambda times: float(sum(times)), [([3, 2, 1],), ([5, 0.5],)])

    def hungry(times):
        found = 0.0
        while times:
            found += times.pop()
        return found

    for _ in range(2):
        assert "writes into its own argument, `times`" in total(hungry).text
    assert total(lambda times: hungry(list(times)))
    assert total.cases[0] == ([3, 2, 1],)


def test_a_small_answer_is_not_right_by_its_size():
    tiny = Exercise("tiny", lambda t: 1e-5 * t, [(2.0,), (3.0,)])
    assert tiny(lambda t: t * 1.00001e-5)
    verdict = tiny(lambda t: 1.1e-5 * t)
    assert verdict.text.startswith(
        "tiny is off by up to 2e-06, 10 % of the right 2e-05 (with 2"
    )


def test_wrong_turns_and_habits_run_inside_the_guard():
    """None of them may end in a trace, whatever it does with an attempt."""

    def stops(*arguments):
        raise KeyError("no such key")

    odd = lambda side, scale: scale * side**2 + 0.25  # noqa: E731
    assert "off by" in replace(SQUARE, wrong_turns=[(stops, "Never.")])(odd).text
    for attempt in (odd, SQUARE.solution):
        verdict = replace(SQUARE, habits=[(stops, "Never.")])(attempt)
        assert verdict.state == "wrong" and "stopped with KeyError" in verdict.text

    def only_the_cases(side, scale):  # an attempt that a habit's own case would stop
        return {3: 2, 1: 0.1}[side.numel()] * side**2

    strict = replace(SQUARE, habits=[(lambda attempt: attempt(torch.ones(5), 2), "Never.")])
    assert "stopped with KeyError: 5" in strict(only_the_cases).text


# ---- which is which

PAIR = Matching(
    "The pair",
    {"A": 2, "B": 3, "C": 1},
    {1: Bug("none", "is right"), 2: Bug("rand", "moves the mean"), 3: Bug("x2", "is wide")},
    "Look at moments.",
    lambda bug: listed({"mean": 0.5 * bug, "spread": 1}),
)


def test_matching_right_however_it_is_written():
    praise = Verdict("right", "All 3 right. Look at moments.")
    assert PAIR({"A": 2, "B": 3, "C": 1}) == praise
    assert PAIR({"c": 1, "b ": 3, "a": 2}) == praise  # small letters
    assert PAIR({"A": np.int64(2), "B": torch.tensor(3), "C": 1}) == praise
    assert replace(PAIR, praise="")({"A": 2, "B": 3, "C": 1}).text == "All 3 right."


def test_matching_says_what_speaks_against_the_first_wrong_one():
    assert PAIR({"A": 2, "B": 1, "C": 3}) == Verdict(
        "wrong",
        "1 of 3 right. B isn't line 1: that one is right. B has mean 1.50, spread 1.00.",
    )
    assert replace(PAIR, evidence=None)({"A": 3, "B": 2, "C": 1}).text == (
        "1 of 3 right. A isn't line 3: that one is wide."
    )


def test_matching_awaits():
    text = "The pair awaits its reader: give each letter the number of its line."
    for nothing in ({}, dict.fromkeys("ABC", ...), dict.fromkeys("ABC")):
        assert PAIR(nothing) == Verdict("awaits", text)
    assert PAIR({"A": 2, "B": ...}).text == text + " Still without one: B, C."


@pytest.mark.parametrize(
    ("answers", "hint"),
    [
        ([2, 3, 1], 'takes a dict of letters and numbers, {"A": 1, "B": 2, ...}, not a list'),
        (None, "not a NoneType"),
        ({2: "A", 3: "B", 1: "C"}, "There is no letter '2'"),
        ({"A": 2, "B": 3, "D": 1}, "There is no letter 'D': give each letter, A to C"),
        ({"A": "2", "B": "3", "C": "1"}, "A: there is no line '2'"),
        ({"A": 2, "B": [3], "C": 1}, "B: there is no line [3], for that is no number of a"),
        ({"A": 2, "B": 3, "C": 4}, "C: there is no line 4, for that is no number of a line"),
        ({"A": 2, "B": 3.5, "C": 1}, "they run from 1 to 3, without quotes"),
    ],
    ids=str,
)
def test_matching_of_what_is_no_answer(answers, hint):
    verdict = PAIR(answers)
    assert verdict.state == "wrong" and hint in verdict.text
    assert " right" not in verdict.text  # no "0 of 3" for what could not be read


def test_or_library_says_which_runs(capsys):
    attempt = lambda side, scale: side * side * scale  # noqa: E731
    assert SQUARE.or_library(attempt) is attempt
    assert capsys.readouterr().out == "area: yours runs in the cells below.\n"
    assert SQUARE.or_library(stub) is SQUARE.solution
    assert capsys.readouterr().out == (
        "area: the library's version runs in the cells below until yours is written.\n"
    )
    for wrong in (
        lambda side, scale: side,
        lambda side, scale: None,
        lambda side, scale: side @ torch.zeros(7),
    ):
        assert SQUARE.or_library(wrong) is SQUARE.solution
        out = capsys.readouterr().out
        assert out.startswith("area: yours isn't right yet") and "library's version" in out
        assert out.count("\n") == 1


def test_shown_as_one_safe_line_with_more_than_colour():
    for state, sign in (("right", "✔"), ("wrong", "✘"), ("awaits", "…")):
        shown = Verdict(state, "shape <3> & more")._repr_html_()
        assert "shape &lt;3&gt; &amp; more" in shown
        assert sign in shown
        assert 'role="status"' in shown


# ---- the exercises of the lessons


def of_the_lessons(kind: type) -> dict:
    """Every value of this kind in every module of course_lib.exercises, once each: a lesson
    shows those that stand in a file beside it too.
    """
    found = {}
    for info in pkgutil.iter_modules(course_lib.exercises.__path__):
        module = importlib.import_module(f"course_lib.exercises.{info.name}")
        for key, value in vars(module).items():
            if isinstance(value, kind) and not any(value is x for x in found.values()):
                found[f"{info.name}.{key}"] = value
    return found


EXERCISES = of_the_lessons(Exercise)


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
        == f"{exercise.name} awaits its reader: write it where the stub is, and run that cell "
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
    names = (
        "images_from_bytes noise_like exact_x0 embed drop_labels reverse_step guide merge_once"
    )
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


MATCHINGS = of_the_lessons(Matching)


@pytest.mark.parametrize("gallery", MATCHINGS.values(), ids=MATCHINGS)
def test_a_lesson_s_gallery(gallery):
    n, (a, *_) = len(gallery.key), gallery.key
    assert sorted(gallery.key.values()) == sorted(gallery.bugs) == list(range(1, n + 1))
    praise = gallery(gallery.key)
    assert praise.state == "right" and praise.text.startswith(f"All {n} right.")
    assert gallery({letter.lower(): k for letter, k in gallery.key.items()}) == praise
    assert gallery({}).state == gallery(dict.fromkeys(gallery.key, ...)).state == "awaits"
    assert gallery(list(gallery.key.values())).state == "wrong"
    strings = {letter: str(k) for letter, k in gallery.key.items()}
    assert "no number of a line" in gallery(strings).text
    for number in set(gallery.bugs) - {gallery.key[a]}:
        text = replace(gallery, evidence=None)({**gallery.key, a: number}).text
        assert text == (
            f"{n - 1} of {n} right. {a} isn't line {number}: that one "
            f"{gallery.bugs[number].sign}."
        )


def _tensors_in(case: tuple) -> list[torch.Tensor]:
    return [a for a in case if isinstance(a, torch.Tensor)]


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_no_case_is_all_zeros(exercise):
    """In zeros x + noise is noise, and a product nothing."""
    for tensor in (t for case in exercise.cases for t in _tensors_in(case)):
        assert tensor.numel() == 0 or tensor.ne(0).any()


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_grading_leaves_the_cases_as_they_were(exercise):
    before = [[a.clone() for a in _tensors_in(case)] for case in exercise.cases]
    for attempt in (exercise.solution, *(wrong for wrong, _ in exercise.wrong_turns)):
        exercise(attempt)
    for tensors, case in zip(before, exercise.cases, strict=True):
        assert all(map(torch.equal, tensors, _tensors_in(case)))
