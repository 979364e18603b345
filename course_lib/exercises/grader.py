"""What every exercise shares: run the reader's function, compare, and name the wrong turn
where it is a known one.
"""

import html
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Number

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.stumbles import first_line, hint_for


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
                answers, changed = self._run(attempt)
                if answers[0] is Ellipsis:
                    raise NotImplementedError
                fault = self._fault(attempt, answers, changed)
            # whatever the reader's code may raise is the reader's to see, in one line
            except Exception as error:
                return self._stopped(error)
            return Verdict("wrong", fault) if fault else Verdict("right", self.praise)

    def or_library(self, attempt: Callable) -> Callable:
        """The attempt where it is right, else the library's own: what the next cells run on.
        Says which of the two it is.
        """
        verdict = self(attempt)
        print(
            {
                "right": f"{self.name}: yours runs in the cells below.",
                "wrong": f"{self.name}: yours isn't right yet, so the library's version runs "
                "in its place in the cells below.",
                "awaits": f"{self.name}: the library's version runs in the cells below until "
                "yours is written.",
            }[verdict.state]
        )
        return attempt if verdict else self.solution

    def _run(self, function: Callable) -> tuple[list, str | None]:
        """The answers to all cases, and the first argument that the function wrote into."""
        answers, changed = [], None
        for case in self.cases:
            given = [_copied(argument) for argument in case]
            answers.append(function(*given))
            if changed is None and not _same(given, list(case)):
                changed = next(
                    name
                    for name, *pair in zip(_names(function, case), given, case, strict=True)
                    if not _same(*pair)
                )
        return answers, changed

    def _stopped(self, error: Exception) -> Verdict:
        # PyTorch raises NotImplementedError too, where a kernel is "not implemented for
        # 'Long'"
        if isinstance(error, NotImplementedError) and "not implemented for" not in str(error):
            return Verdict(
                "awaits",
                f"{self.name} awaits its reader: write it where the stub is, and run that "
                "cell again.",
            )
        for text, hint in self.known_errors:
            if text in str(error):
                return Verdict("wrong", hint)
        if hint := hint_for(error):
            return Verdict("wrong", f"{self.name} stopped: {hint}. ({first_line(error)})")
        return Verdict("wrong", f"{self.name} stopped with {first_line(error)}")

    def _fault(self, attempt: Callable, answers: list, changed: str | None) -> str | None:
        """What is wrong with an attempt that ran, in a sentence; None where nothing is."""
        solved, _ = self._run(self.solution)
        for answer, expected in zip(answers, solved, strict=True):
            if kind := _other_kind(answer, expected):
                return f"{self.name} returned {kind}"
        found, expected = _tensors(answers), _tensors(solved)
        right = _alike(found, expected, self.rtol)
        if not right:
            known = (hint for wrong, hint in self.wrong_turns if self._took(found, wrong))
            if hint := next(known, None) or self._shape(found, expected):
                return hint
        if changed:
            return (
                f"{self.name} writes into its own argument, {changed} (with +=, [...] =, .pop "
                "or a function whose name ends in _), and whoever called it still needs that. "
                "Make a new one, or begin with a copy: x.clone(), list(times)."
            )
        for breaks, hint in self.habits:
            if breaks(attempt):
                return hint
        if not right:
            return self._off(found, expected)
        return self.dtype_hint if self.dtype_hint and _other_dtype(found, expected) else None

    def _took(self, found: list[Tensor], wrong: Callable) -> bool:
        try:
            return _alike(found, _tensors(self._run(wrong)[0]), self.rtol)
        except Exception:  # a wrong turn that does not fit a case is not the one taken
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
        """How large the worst difference is, and where, for a mistake that nobody foresaw."""
        triples = zip(self.cases, found, expected, strict=True)
        unlike = [each for each in triples if not _alike([each[1]], [each[2]], self.rtol)]
        case, f, e = max(unlike, key=lambda each: _gap(*each[1:]).max() / _size(each[2]))
        numbers = ", ".join(str(a) for a in case if isinstance(a, int | float))
        where = f" (with {numbers})" if numbers else ""
        if f.isnan().any():
            return (
                f"{self.name} gives nan{where}: somewhere 0 is divided by 0, or a root is "
                "taken of less than 0."
            )
        if f.isinf().any() and not e.isinf().any():
            return (
                f"{self.name} gives infinity{where}: a division by 0, the log of 0, or an exp "
                "that is too large for its dtype."
            )
        if e.isinf().any() and not f.isinf().any():
            return f"{self.name} is finite{where} where inf is the answer: {self.advice}."
        k = _gap(f, e).argmax()
        gap, right = _gap(f, e)[k].item(), e.flatten()[k].item()
        # 3e-06 reads like rounding; where 9e-06 is right it is not
        share = 100 * gap / abs(right) if right else 0
        percent = f"{share:,.0f} %" if share >= 10 else f"{share:.2g} %"
        times = f"{share / 100:,.0f} times" if share >= 1e4 else f"{percent} of"
        told = f", {times} the right {right:.3g}" if share else ""
        return f"{self.name} is off by up to {gap:.3g}{told}{where}: {self.advice}."


def other_end(one: Tensor, two: Tensor) -> bool:
    """Whether two calls with the same arguments led elsewhere: fresh noise, drawn by whom
    nobody asked. nan is nan: that is a fault of another name.
    """
    return one.shape != two.shape or not torch.allclose(
        one, two, rtol=0, atol=0, equal_nan=True
    )


def _gap(f: Tensor, e: Tensor) -> Tensor:
    """Absolute differences, flat; nan is the largest of all."""
    return (f.double() - e.double()).abs().nan_to_num(torch.inf).flatten()


def _names(function: Callable, case: tuple) -> list[str]:
    """What the function calls its arguments, where it names each."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some of torch's own have no signature
        parameters = []
    names = [f"`{p.name}`" for p in parameters if p.kind is not p.VAR_POSITIONAL]
    return names if len(names) == len(case) else [f"number {k + 1}" for k in range(len(case))]


def _copied(argument):
    """An argument that an attempt may spoil: tensors and lists are copied, nets are not."""
    if isinstance(argument, Tensor):
        return argument.clone()
    if isinstance(argument, list | tuple):
        return type(argument)(_copied(part) for part in argument)
    return argument


def _same(given, case) -> bool:
    """Whether an argument is still what it was."""
    if isinstance(case, Tensor):
        return given.shape == case.shape and given.dtype == case.dtype and given.equal(case)
    if isinstance(case, list | tuple):
        pairs = zip(given, case, strict=False)
        return len(given) == len(case) and all(_same(*pair) for pair in pairs)
    return True


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
    if hasattr(answer, "values") and hasattr(answer, "indices"):  # of min(dim=), topk, sort
        return "values and their places together: take its .values."
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
    """Whether all have the same shapes and values; nan is nan: some wrong turns end there.
    What counts as 0 shrinks with the answer, so that 1e-5 is not right by its size alone.
    """
    return all(
        f.shape == e.shape
        and torch.allclose(
            f.double(), e.double(), rtol=rtol, atol=rtol * _size(e), equal_nan=True
        )
        for f, e in zip(found, expected, strict=True)
    )


def _size(e: Tensor) -> float:
    """The largest absolute value, at most 1; 1 where all is 0 or nothing is finite."""
    e = e.double().nan_to_num(0.0, 0.0, 0.0).abs()
    largest = e.max().item() if e.numel() else 0.0
    return min(largest, 1.0) or 1.0


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
