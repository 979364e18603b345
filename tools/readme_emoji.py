"""The README's picture of text to image: twelve prompts and what `sd-emoji` makes of them.

python tools/readme_emoji.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ROCKET = "火箭，twemoji 风格"
PROMPTS = (
    "robot, openmoji style",
    "a slice of pizza, twemoji style",
    ROCKET,
    "cat face, noto style",
    "red heart, fluent-3d style",
    "alarm clock, fluent-flat style",
    "bicycle, openmoji style",
    "smiling face with sunglasses, noto-v1 style",
    "christmas tree, emojione-v2 style",
    "dog, twemoji style",
    "guitar, fluent-3d style",
    "house, noto style",
)


def title(prompt: str) -> str:
    """A prompt on two lines; the Chinese one in words that matplotlib's font has."""
    shown = "rocket (in Chinese), twemoji" if prompt == ROCKET else prompt
    return shown.removesuffix(" style").replace("smiling ", "").replace(", ", "\n")


def main():
    """Make the pictures with seed 0, the first that come, and write the file."""
    import matplotlib.pyplot as plt

    from course_lib.recipes import maker

    images, _ = maker("sd-emoji").make(len(PROMPTS), 0, PROMPTS)
    figure, axes = plt.subplots(2, 6, figsize=(9, 3.7), dpi=100, layout="constrained")
    for axis, image, prompt in zip(axes.flat, images, PROMPTS, strict=True):
        axis.imshow((image.permute(1, 2, 0) + 1) / 2)
        axis.set_title(title(prompt), fontsize=8)
        axis.set_axis_off()
    figure.savefig(ROOT / "assets" / "readme-emoji.png")


if __name__ == "__main__":
    main()
