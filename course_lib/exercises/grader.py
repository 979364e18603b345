"""What every exercise shares: run the reader's function, compare, and name the wrong turn
where it is a known one.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Number

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Verdict:
    """A grader's answer; truthy when the attempt is right. Shown as one coloured line in a
    notebook.
    """

    state: str  # "right", "wrong" or "awaits"
    text: str

    def __bool__(self) -> bool:
        return self.state == "right"

    def __repr__(self) -> str:
        return {"right": "✔ ", "wrong": "✘ ", "awaits": "… "}[self.state] + self.text

    def _repr_html_(self) -> str:
        # a bar and a sign beside the colour, for readers who do not tell green from red
        colour = {"right": "#0072B2", "wrong": "#D55E00", "awaits": "#767676"}[self.state]
        return (
            f'<div role="status" style="border-left:6px solid {colour};padding:6px '
            '12px;font-size:15px">'
            f"{html.escape(repr(self))}</div>"
        )


@dataclass(frozen=True)
class Exercise:
    """A function for the reader to write, and what is known of the ways to write it.

    An attempt is called on each of `cases` and compared with `solution`. Where it differs,
    each of `wrong_turns` (a function with the same arguments, and a hint) is tried: the first
    whose answers the attempt gives names the mistake. An attempt that raises
    NotImplementedError or returns Ellipsis awaits its reader.
    """

    name: str
    solution: Callable  # the library's, or a closed form
    cases: Sequence[tuple]  # the arguments of each call
    wrong_turns: Sequence[tuple[Callable, str]] = ()
    praise: str = "Right."
    rtol: float = 1e-4
    habits: Sequence[
        tuple[Callable[[Callable], bool], str]
    ] = ()  # what values don't show: does it break this? a hint
    known_errors: Sequence[
        tuple[str, str]
    ] = ()  # a piece of an error's text, and the hint to give in its place
    # said of right values in another dtype than the solution's, where later cells need that
    # one
    dtype_hint: str = ""
    advice: str = (
        "compare each factor with the equation above"  # after a number that nobody foresaw
    )

    def __call__(self, attempt: Callable) -> Verdict:
        """Grade an attempt; the random numbers that everybody shares are left as they were."""
        with torch.random.fork_rng(devices=[]):
            try:
                answers = self._answers(attempt)
                if answers[0] is Ellipsis:
                    raise NotImplementedError
            # whatever the reader's code may raise is the reader's to see, in one line
            except Exception as error:
                return self._stopped(error)
            fault = self._fault(attempt, answers)
            return Verdict("wrong", fault) if fault else Verdict("right", self.praise)

    def or_library(self, attempt: Callable) -> Callable:
        """The attempt where it is right, else the library's own: what the next cells run on.
        Says so of a wrong one.
        """
        verdict = self(attempt)
        if verdict.state == "wrong":
            print(
                f"{self.name}: yours isn't right yet, so the library's version runs in its "
                "place in the cells below."
            )
        return attempt if verdict else self.solution

    def _answers(self, function: Callable) -> list:
        return [
            function(*(a.clone() if isinstance(a, Tensor) else a for a in case))
            for case in self.cases
        ]

    def _stopped(self, error: Exception) -> Verdict:
        # PyTorch raises NotImplementedError too, where a kernel is "not implemented for
        # 'Long'"
        if isinstance(error, NotImplementedError) and "not implemented for" not in str(error):
            return Verdict(
                "awaits",
                f"{self.name} awaits its reader: write the stub above, then run both cells "
                "again.",
            )
        for text, hint in self.known_errors:
            if text in str(error):
                return Verdict("wrong", hint)
        return Verdict("wrong", f"{self.name} stopped with {type(error).__name__}: {error}")

    def _fault(self, attempt: Callable, answers: list) -> str | None:
        """What is wrong with an attempt that ran, in a sentence; None where nothing is."""
        solved = self._answers(self.solution)
        for answer, expected in zip(answers, solved, strict=True):
            if kind := _other_kind(answer, expected):
                return f"{self.name} returned {kind}"
        found, expected = _tensors(answers), _tensors(solved)
        right = _alike(found, expected, self.rtol)
        if not right:
            known = (hint for wrong, hint in self.wrong_turns if self._took(found, wrong))
            if hint := next(known, None) or self._shape(found, expected):
                return hint
        for breaks, hint in self.habits:
            if breaks(attempt):
                return hint
        if not right:
            return self._off(found, expected)
        return self.dtype_hint if self.dtype_hint and _other_dtype(found, expected) else None

    def _took(self, found: list[Tensor], wrong: Callable) -> bool:
        try:
            return _alike(found, _tensors(self._answers(wrong)), self.rtol)
        except (
            RuntimeError,
            ValueError,
            IndexError,
            TypeError,
        ):  # a wrong turn that does not fit a case
            return False

    def _shape(self, found: list[Tensor], expected: list[Tensor]) -> str | None:
        for f, e in zip(found, expected, strict=True):
            if f.shape != e.shape:
                return (
                    f"{self.name} returned shape {tuple(f.shape)}; it should be "
                    f"{tuple(e.shape)}."
                )
        return None

    def _off(self, found: list[Tensor], expected: list[Tensor]) -> str:
        """How large the first difference is, and where, for a mistake that nobody foresaw."""
        pairs = zip(self.cases, found, expected, strict=True)
        case, f, e = next(
            pair for pair in pairs if not _alike([pair[1]], [pair[2]], self.rtol)
        )
        numbers = ", ".join(str(a) for a in case if isinstance(a, int | float))
        where = f" (with {numbers})" if numbers else ""
        if f.isnan().any():
            return (
                f"{self.name} gives nan{where}: somewhere 0 is divided by 0, or a root is "
                "taken of less than 0."
            )
        gap = (f.double() - e.double()).abs().max().item()
        return f"{self.name} is off by up to {gap:.3g}{where}: {self.advice}."


def _other_kind(answer, expected) -> str | None:
    """What was returned, where it is no tensor (or number) as it should be, and what to do;
    None where it is.
    """
    if isinstance(answer, Tensor) or (
        isinstance(answer, Number) and not isinstance(expected, Tensor)
    ):
        return None
    if answer is None:
        return "nothing: is `return` missing?"
    what, n = type(answer).__name__, len(answer) if isinstance(answer, list | tuple) else 0
    if not isinstance(expected, Tensor):
        return f"a {what}; it should be a number."
    if n and all(isinstance(a, Tensor) for a in answer):
        return f"a {what} of {n} tensor{'s' * (n > 1)}; torch.stack makes one tensor of them."
    if n:
        return f"a {what}; torch.tensor makes a tensor of it, and the cells below need one."
    if isinstance(answer, np.ndarray):
        return (
            "a NumPy array; torch.from_numpy makes a tensor of it, and the cells below "
            "need one."
        )
    what = "plain number" if isinstance(answer, Number) else what
    return f"a {what}; it should be a tensor of shape {tuple(expected.shape)}."


def _tensors(answers: list) -> list[Tensor]:
    return [torch.as_tensor(answer).detach().cpu() for answer in answers]


def _alike(found: list[Tensor], expected: list[Tensor], rtol: float) -> bool:
    """Whether all have the same shapes and values; nan is nan: some wrong turns end there."""
    return all(
        f.shape == e.shape
        and torch.allclose(f.double(), e.double(), rtol=rtol, atol=rtol, equal_nan=True)
        for f, e in zip(found, expected, strict=True)
    )


def _other_dtype(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether any dtype differs; one width of integers is as good as another."""
    fractions = [
        f.is_floating_point() or e.is_floating_point()
        for f, e in zip(found, expected, strict=True)
    ]
    return any(
        f.dtype != e.dtype
        for f, e, fraction in zip(found, expected, fractions, strict=True)
        if fraction
    )
