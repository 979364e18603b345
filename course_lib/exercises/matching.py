"""The grader of a gallery: programs under letters, each with one numbered line wrong in it,
and the reader says which letter has which line.

A lesson's file gives it data, and no class of its own:

    from course_lib.exercises.matching import Bug, Matching, listed

    BUGS = {
        1: Bug("nothing is wrong", "has every number in place"),
        2: Bug("torch.rand for torch.randn", "moves the mean: that noise is positive"),
    }
    _HUNG = {"A": 2, "B": 1}  # who hangs where
    GALLERY = Matching(
        "The gallery",
        _HUNG,
        BUGS,
        praise="A loss curve would have shown neither.",
        evidence=lambda bug: listed(numbers(bug)),  # the dict of numbers under that picture
    )

The notebook prints `number, bug.line` of BUGS, shows what hangs under each letter, and ends
with `grade.GALLERY({"A": ..., "B": ...})`. After a wrong answer it says how many are right,
what the first wrong number's line would do (its `sign`, a verb phrase: "that one moves the
mean ...") and, where `evidence` is given, what the letter has instead. tests/test_grader.py
finds every Matching in this folder and asks it what a reader may get wrong; that each bug
shows its sign, and no other's, is for the lesson's own tests.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from course_lib.exercises.grader import Verdict


@dataclass(frozen=True)
class Bug:
    """A line that was written wrong, and what gives it away."""

    line: str  # what the code does
    sign: str  # the number, or the picture, that tells


def listed(numbers: Mapping[str, float], form: str = "z.2f") -> str:
    """{"mean": 0.1, "spread": 1} as "mean 0.10, spread 1.00"."""
    return ", ".join(f"{name} {value:{form}}" for name, value in numbers.items())


@dataclass(frozen=True)
class Matching:
    """A grader for "which is which": it says what speaks against the first wrong answer."""

    name: str
    key: Mapping[str, int]  # the right number of each letter
    bugs: Mapping[int, Bug]
    praise: str = ""  # said when all are right
    evidence: Callable[[int], str] | None = (
        None  # what is seen of a bug, to set against a sign
    )

    def __call__(self, answers: Mapping[str, int]) -> Verdict:
        """Grade {letter: number}; small letters are as good."""
        if not isinstance(answers, Mapping):
            a, b = list(self.key)[:2]
            return Verdict(
                "wrong",
                f"{self.name} takes a dict of letters and numbers, "
                f'{{"{a}": 1, "{b}": 2, ...}}, not a {type(answers).__name__}.',
            )
        told = {str(letter).strip().upper(): number for letter, number in answers.items()}
        given = {letter: told.get(letter) for letter in self.key}
        if missing := [k for k, number in given.items() if number is None or number is ...]:
            return self._awaits(missing, told)
        numbers = {letter: _whole(number) for letter, number in given.items()}
        if odd := [letter for letter in given if numbers[letter] not in self.bugs]:
            return Verdict(
                "wrong",
                f"{odd[0]}: there is no line {given[odd[0]]!r}, for that is no number of a "
                f"line; they run from 1 to {len(self.bugs)}, without quotes.",
            )
        wrong = [letter for letter in self.key if numbers[letter] != self.key[letter]]
        if not wrong:
            return Verdict("right", f"All {len(self.key)} right. {self.praise}".strip())
        return self._against(wrong, numbers[wrong[0]])

    def _awaits(self, missing: list[str], told: dict) -> Verdict:
        """Where letters have no number: they, or what stands in their place."""
        if strange := [letter for letter in told if letter not in self.key]:
            first, last = list(self.key)[0], list(self.key)[-1]
            return Verdict(
                "wrong",
                f"There is no letter {strange[0]!r}: give each letter, {first} to {last}, the "
                f'number of its line, {{"{first}": 1, ...}}.',
            )
        text = f"{self.name} awaits its reader: give each letter the number of its line."
        if len(missing) < len(self.key):
            text += f" Still without one: {', '.join(missing)}."
        return Verdict("awaits", text)

    def _against(self, wrong: list[str], number: int) -> Verdict:
        """How many are right, and why the first of `wrong` is not that line."""
        letter, n = wrong[0], len(self.key)
        text = (
            f"{n - len(wrong)} of {n} right. {letter} isn't line {number}: that one "
            f"{self.bugs[number].sign}."
        )
        if self.evidence is not None:
            text += f" {letter} has {self.evidence(self.key[letter])}."
        return Verdict("wrong", text)


def _whole(number) -> int | None:
    """A whole number of any kind (NumPy's, a tensor's) as int; None of what is none."""
    try:
        return operator.index(number)
    except TypeError:
        return None
