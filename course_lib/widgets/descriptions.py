"""What a figure shows, in words: for whoever hears a page instead of seeing it."""

import re

_NAMED = re.compile(r"""\b(?:(?:sup)?title|[xy]label|label)(?:=|\()f?"([^"{}]+)\"""")
_KEYS = re.compile(r'[{ ]"([^"{}]+)": ')
_LONGEST = 320  # characters: a listener wants the gist


def of_figure(figure) -> str:
    """A matplotlib figure's own words: titles, axes and their names, the legend's entries."""
    panels = [words for axis in figure.axes if (words := _of_axes(axis))]
    title = figure.get_suptitle()
    text = "; ".join(panels) or f"{len(figure.axes)} pictures without a caption"
    return _shortened(f"Figure. {title + '. ' if title else ''}{text}.")


def _of_axes(axis) -> str:
    names = [axis.get_title() or axis.get_title(loc="left")]
    names += [
        f"{way} axis: {name}"
        for way, name in (("x", axis.get_xlabel()), ("y", axis.get_ylabel()))
        if name and axis.axison
    ]
    entries = [name for name in axis.get_legend_handles_labels()[1] if name[:1] != "_"]
    if entries:
        names.append("shown: " + ", ".join(dict.fromkeys(entries)))
    return ", ".join(filter(None, map(_plain, names)))


def of_cell(heading: str, source: str) -> str:
    """The best that can be said of a figure whose maker is gone: the section it stands in, and
    the words that the cell that drew it writes on it.
    """
    words = _NAMED.findall(source)
    if "show_" in source:  # whose dict holds the names of what is shown
        words += _KEYS.findall(source)
    where = f"of the section “{_plain(heading)}”" if heading else "of this lesson"
    words = [word for word in dict.fromkeys(map(_plain, words)) if word.strip()]
    return _shortened(f"Figure {where}{': ' if words else ''}{', '.join(words)}.")


def describe(notebook: dict) -> dict:
    """Give each picture among a notebook's outputs a description, in place, where it has none;
    returns the notebook.
    """
    heading = ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^#+ +(.+)$", source, re.MULTILINE)
            heading = found[-1] if found else heading
        for output in cell.get("outputs", []):
            for mime in ("image/png", "image/jpeg"):
                if mime in output.get("data", {}):
                    about = output["metadata"].setdefault(mime, {})
                    about.setdefault("alt", of_cell(heading, source))
    return notebook


def _plain(text: str) -> str:
    """Without the signs that a voice would spell."""
    text = " ".join(text.replace(r"\n", " ").split())
    return re.sub(r"[$*`{}\\]", "", text)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rsplit(" ", 1)[0] + " …"
