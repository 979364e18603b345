"""What PyTorch and Python say when a reader's line stops, and what to do about it: the hints
that fit every exercise. An exercise's own `known_errors` come first.
"""

import re

_LINES_UP = (
    "two shapes don't fit together: print both .shape. PyTorch lines shapes up from the "
    "right: one number for each of B images needs the shape [B, 1, 1, 1] to multiply [B, C, "
    "H, W]"
)
_MANY = (
    "a tensor of many numbers stands where one is asked for. Python's `if`, `and`, math.* and "
    "float() take one: write torch.where(condition, a, b) for an `if`, and x.log(), x.exp(), "
    "x.sqrt() for math's"
)

# a pattern in the error's text, and the hint in its place
STUMBLES: tuple[tuple[str, str], ...] = (
    (
        r"must be Tensor, not (float|int)",
        "a plain number was given to a function of torch. Of a number x take x ** 0.5, or "
        "math.sqrt, math.log and their like",
    ),
    (r"Boolean value of Tensor", _MANY),
    (r"converted to Python scalars|converted to Scalar", _MANY),
    (r"must match the size of tensor|must match the existing size|shape mismatch", _LINES_UP),
    (r"not broadcastable|doesn't match the broadcast shape", _LINES_UP),
    (
        r"shapes cannot be multiplied|inconsistent tensor size|size mismatch",
        "@ multiplies matrices, and these two don't fit. Number by number it is *; a turned "
        "matrix is A.T",
    ),
    (
        r"too many indices|Dimension out of range|Dimension specified as",
        "an axis is named that the tensor doesn't have: print its .shape; axes count from 0",
    ),
    (
        r"bitwise_xor",
        "in Python ^ is no power: write ** 2, or .square()",
    ),
    (
        r"same dtype|expected scalar type|dtypes must|dtype .* must match",
        "two dtypes meet: the course's tensors are float32, and x.to(y.dtype) turns one "
        "tensor's into the other's",
    ),
    (
        r"can't be cast|Only Tensors of floating point|must be floating point|"
        r"[Cc]ould not infer output dtype|not implemented for '(Long|Int|Byte|Bool)'",
        "whole numbers stand where fractions are needed: convert with .float() first",
    ),
    (
        r"used as indices|tensors used as|indices must be",
        "a table is read at whole numbers: an index is an integer, or a tensor of integers",
    ),
    (
        r"Can't call numpy|requires grad. Use tensor.detach",
        "NumPy takes no tensor that wants a gradient: stay with torch's functions",
    ),
    (
        r"leaf Variable that requires grad|in-place operation",
        "an argument is written into in place (with _, += or x[...] =): make a new tensor",
    ),
    (
        r"unsupported operand type\(s\) for .*'tuple'|can only concatenate tuple|"
        r"'tuple' object has no attribute|can't multiply sequence|"
        r"only integer tensors of a single",
        "a tuple stands where a tensor is meant: a function that returns two things is "
        "unpacked, x0, eps = denoise(x, t)",
    ),
)


def hint_for(error: Exception) -> str | None:
    """What to do about this error; None where it is not known."""
    return next((hint for text, hint in STUMBLES if re.search(text, str(error))), None)


def first_line(error: Exception) -> str:
    """The error's type and the first line of its text."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}"
