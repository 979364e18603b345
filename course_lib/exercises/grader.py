"""What every exercise shares: run the reader's function, compare, and name the wrong turn where it is a known one."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Verdict:
    """A grader's answer; truthy when the attempt is right. Shown as one coloured line in a notebook."""

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
            f'<div role="status" style="border-left:6px solid {colour};padding:6px 12px;font-size:15px">'
            f"{html.escape(repr(self))}</div>"
        )


def _differs(found: Tensor, expected: Tensor, rtol: float) -> bool:
    return found.shape != expected.shape or not torch.allclose(found.double(), expected.double(), rtol=rtol, atol=rtol)


@dataclass(frozen=True)
class Exercise:
    """A function for the reader to write, and what is known of the ways to write it.

    An attempt is called on each of `cases` and compared with `solution`. Where it differs, each of `wrong_turns` (a
    function with the same arguments, and a hint) is tried: the first whose answers the attempt gives names the mistake.
    An attempt that raises NotImplementedError or returns None or Ellipsis awaits its reader.
    """

    name: str
    solution: Callable  # the library's, or a closed form
    cases: Sequence[tuple]  # the arguments of each call
    wrong_turns: Sequence[tuple[Callable, str]] = ()
    praise: str = "Right."
    rtol: float = 1e-4

    def _answers(self, function: Callable) -> list[Tensor]:
        answers = [function(*(a.clone() if isinstance(a, Tensor) else a for a in case)) for case in self.cases]
        return [torch.as_tensor(answer) for answer in answers]

    def _same(self, found: list[Tensor], function: Callable) -> bool:
        try:
            return not any(_differs(f, e, self.rtol) for f, e in zip(found, self._answers(function), strict=True))
        except (RuntimeError, ValueError, IndexError, TypeError):  # a wrong turn that does not fit a case
            return False

    def __call__(self, attempt: Callable) -> Verdict:
        """Grade an attempt."""
        try:
            first = attempt(*(a.clone() if isinstance(a, Tensor) else a for a in self.cases[0]))
            if first is None or first is Ellipsis:
                raise NotImplementedError
            found = self._answers(attempt)
        except NotImplementedError:
            return Verdict("awaits", f"{self.name} awaits its reader: write the stub above, then run both cells again.")
        except Exception as error:  # whatever the reader's code may raise is the reader's to see, in one line
            return Verdict("wrong", f"{self.name} stopped with {type(error).__name__}: {error}")
        if self._same(found, self.solution):
            return Verdict("right", self.praise)
        for wrong, hint in self.wrong_turns:
            if self._same(found, wrong):
                return Verdict("wrong", hint)
        return Verdict("wrong", self._describe(found))

    def _describe(self, found: list[Tensor]) -> str:
        """Where the first difference is, for a mistake that nobody foresaw."""
        for case, answer, expected in zip(self.cases, found, self._answers(self.solution), strict=True):
            if answer.shape != expected.shape:
                return f"{self.name} returned shape {tuple(answer.shape)}; it should be {tuple(expected.shape)}."
            if _differs(answer, expected, self.rtol):
                gap = (answer.double() - expected.double()).abs().max().item()
                numbers = ", ".join(str(a) for a in case if isinstance(a, int | float))
                where = f" (with {numbers})" if numbers else ""
                return f"{self.name} is off by up to {gap:.3g}{where}: compare each factor with the equation above."
        return f"{self.name} is not right yet."

    def or_library(self, attempt: Callable) -> Callable:
        """The attempt where it is right, else the library's own: what the next cells run on."""
        return attempt if self(attempt) else self.solution
