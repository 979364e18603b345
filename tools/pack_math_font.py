"""Cut the font of the saved pages' equations out of STIX Math, once.

    python tools/pack_math_font.py STIXMath-Regular.otf

Needs the package brotli. The source is Debian's package fonts-stix 1.1.1. A browser lays
MathML out by the font's MATH table; without such a font x_0 reads "x0" and hats float.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

OUT = Path(__file__).resolve().parents[1] / "course_lib" / "widgets" / "math.woff2"
NAME = "Marble Math"  # the licence keeps the name STIX for the whole font
RANGES = (
    (0x20, 0x7E),  # ASCII
    (0xA1, 0xFF),
    (0x300, 0x30C),  # hats, bars, dots
    (0x391, 0x3F6),  # Greek
    (0x1D400, 0x1D467),  # bold and italic letters
    (0x1D49C, 0x1D4CF),  # script
    (0x1D538, 0x1D551),  # double-struck
    (0x1D6A8, 0x1D71B),  # bold and italic Greek
)
SIGNS = (
    "ℝℤℕℂℙℚℒℋℐℰℱℳℬℛℎıȷ˙ˆ˜′″‖…‾⟨⟩←→↑↓↔⇒⇔↦∂∇∈∉∏∑−∓∗∘√∝∞∣∥∧∨∩∪∫≈≃≅≠≡≤≥≪≫⊂⊆⊕⊗⊙⊤⊥⋅⋯⋮⋱⏞⏟⌈⌉⌊⌋∀∃∅∼"
    "\u2002\u2003\u2005\u2009\u200a\u2061\u2062\u2063\u20d7"
)


def main() -> int:
    """Write the font; prints its size."""
    font = TTFont(sys.argv[1])
    options = subset.Options()
    options.layout_features = ["*"]
    options.name_IDs = [0, 1, 2, 13, 14]  # with its copyright and its licence
    options.hinting = False
    cut = subset.Subsetter(options)
    wanted = {code for first, last in RANGES for code in range(first, last + 1)}
    cut.populate(unicodes=wanted | {ord(sign) for sign in SIGNS})
    cut.subset(font)
    for record in font["name"].names:
        if record.nameID == 1:
            record.string = NAME
    font.flavor = "woff2"
    font.save(OUT)
    print(f"{OUT.name}: {OUT.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
