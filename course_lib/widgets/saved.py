"""What a saved notebook keeps of its widgets: what moves, or is still, without their kernel.

A widget view names a model that lives in the kernel that made it. In a notebook that is
opened again without that kernel JupyterLab shows it as "Error displaying widget: model not
found", and prefers it to the html beside it, which moves. `course.py lab` therefore passes
`before_save` to Jupyter's server as `ContentsManager.pre_save_hook`: it must be light to
import.
"""

import re

VIEW = "application/vnd.jupyter.widget-view+json"
# tqdm's text: "40%|####", and the time that has gone "[00:12<00:30"
_BAR = re.compile(r"\d%\||\[(\d+:)+\d\d")


def forget_widgets(notebook: dict) -> dict:
    """Take out of a notebook, in place, what only its own kernel could bring to life; returns
    the notebook.

    That is the saved widget state, the widget view of every output that has an html as well,
    and progress bars, which have nothing else. notebook: a NotebookNode or its JSON.
    """
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if "outputs" not in cell:
            continue
        cell["outputs"] = [output for output in cell["outputs"] if not is_bar(output)]
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                data.pop(VIEW, None)
    return notebook


def is_bar(output: dict) -> bool:
    """Whether an output is a progress bar of tqdm with nothing to show when saved."""
    data = output.get("data", {})
    text = data.get("text/plain", "")
    text = text if isinstance(text, str) else "".join(text)
    return set(data) == {VIEW, "text/plain"} and _BAR.search(text) is not None


def before_save(model: dict, **ignored) -> None:
    """Jupyter's hook: go over a notebook's model, in place, before its server writes it."""
    content = model.get("content")
    if model.get("type") == "notebook" and isinstance(content, dict) and "cells" in content:
        forget_widgets(content)
