"""Rebuild assets/emoji/tokenizer.json from the captions, by hand.

    python tools/train_tokenizer.py

Names, tags and styles of all concepts, in both languages: the tokenizer sees texts only, so
that nothing of a held-out picture is in it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from course_lib.data.emoji import LANGUAGES, STYLES, emoji, prompt
from course_lib.text import FILE, train_tokenizer


def texts():
    """Every name and tag once, and every name in every style."""
    for concept in emoji().concepts:
        yield from (concept.name, concept.name_zh, *concept.tags, *concept.tags_zh)
        for language in LANGUAGES:
            yield from (prompt(concept, style, language) for style in STYLES)


if __name__ == "__main__":
    FILE.write_text(train_tokenizer(texts()).to_str() + "\n", encoding="utf-8")
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
