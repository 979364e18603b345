"""The scrubber without a browser: its sheets, its three surfaces, and what it says to what it
can't show.
"""

import base64
import html
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.errors import CourseError
from course_lib.widgets import Scrubber, export
from course_lib.widgets.export import to_html
from course_lib.widgets.filmstrip import NOISE_RAMP, paint
from course_lib.widgets.saved import VIEW, before_save, forget_widgets
from course_lib.widgets.sheet import (
    Film,
    as_array,
    film,
    pack,
    pack_film,
    quantise,
    restore,
    unpack,
)
from course_lib.widgets.standalone import module

ROOT = Path(__file__).resolve().parents[1]
T = 1000
ANGLE = np.arange(T + 1) / T * np.pi / 2
SCHEDULE = SimpleNamespace(alpha=np.cos(ANGLE), sigma=np.sin(ANGLE))


@dataclass
class Seen:
    """A step as a sampler gives it, from no sampler: the widget asks for no more than these
    four.
    """

    t: int
    x_t: object
    x0: object
    eps: object


def run(
    calls: int = 20, B: int = 64, seed: int = 0, fresh: float = 0.0, shape=(1, 28, 28)
) -> list[Seen]:
    """Discs that come out of noise; `fresh` is how much of the noise each step draws anew."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    centres, radii = draw.uniform(-0.4, 0.4, (B, 2, 1, 1)), draw.uniform(0.3, 0.7, (B, 1, 1))
    distance = np.hypot(y - centres[:, 0], x - centres[:, 1])
    discs = (
        np.tanh(8 * (radii - distance))[:, None].repeat(shape[0], 1).astype(np.float32)
    )  # [B, C, H, W]
    eps, steps = draw.standard_normal((B, *shape), dtype=np.float32), []
    for i in range(calls + 1):
        t = round(T * (calls - i) / calls)
        alpha, sigma = SCHEDULE.alpha[t], SCHEDULE.sigma[t]
        x0 = (1 - sigma) * discs + sigma * discs.mean(0)
        steps.append(
            Seen(t, (alpha * x0 + sigma * eps).astype(np.float32), x0.astype(np.float32), eps)
        )
        anew = draw.standard_normal((B, *shape), dtype=np.float32)
        eps = (np.sqrt(1 - fresh**2) * eps + fresh * anew).astype(np.float32)
    return steps


def tensors(steps: list[Seen], dtype=torch.float32) -> list[Seen]:
    return [
        Seen(s.t, *(torch.from_numpy(a).to(dtype) for a in (s.x_t, s.x0, s.eps)))
        for s in steps
    ]


def developed(scrubber: Scrubber, number: int = 0) -> dict[str, np.ndarray]:
    """What the browser makes of a run: x_t, x0 and eps as float32 [F, B, C, H, W]. The same
    steps as in scrubber.js.
    """
    spec, entry = scrubber._spec, scrubber._spec["runs"][number]
    F, values = len(entry["t"]), {}
    for key, sheet in entry["sheets"].items():
        levels = unpack(scrubber._sheets[sheet["sheet"]], F, spec["images"], spec["channels"])
        values[key] = restore(levels, sheet["scale"])
        if sheet.get("first"):
            values[key][1:] += values[key][:1]
    if "x_t" not in values:
        alpha, sigma = (
            np.array(entry[key]).reshape(-1, 1, 1, 1, 1) for key in ("alpha", "sigma")
        )
        values["x_t"] = alpha * values["x0"] + sigma * values["eps"]
    return values


# ---------------------------------------------------------------- sheets


@pytest.mark.parametrize("shape", [(3, 5, 1, 28, 28), (2, 4, 3, 20, 30)])
def test_a_lossless_sheet_gives_back_its_bytes(shape):
    levels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sheet = pack(levels, "lossless")
    assert sheet.startswith(b"\x89PNG")
    np.testing.assert_array_equal(unpack(sheet, *shape[:3]), levels)


def test_a_sheet_has_a_row_a_frame_and_a_column_an_image():
    levels = np.zeros((2, 3, 1, 4, 5), np.uint8)
    levels[1, 2] = 255
    pixels = np.asarray(Image.open(io.BytesIO(pack(levels, "lossless"))))
    assert pixels.shape == (2 * 4, 3 * 5)
    assert (pixels[4:, 10:] == 255).all() and pixels.sum() == 255 * 20


def test_quantising_errs_by_at_most_half_a_level_and_clips():
    x = np.linspace(-3, 3, 1001, dtype=np.float32)
    assert np.abs(restore(quantise(x, 3.0), 3.0) - x).max() <= 3 / 255 + 1e-6
    assert quantise(np.array([-9.0, 9.0]), 3.0).tolist() == [0, 255]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_arrays_come_from_tensors_of_any_dtype_that_need_gradients(dtype):
    array = as_array(torch.ones(2, dtype=dtype, requires_grad=True))
    assert array.dtype == np.float32 and array.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("fresh", "bound"), [(0.0, 0.06), (0.6, 0.14)]
)  # noise anew takes half the quality
def test_a_lossy_run_looks_the_same(fresh, bound):
    steps = run(B=16, fresh=fresh)
    seen = developed(Scrubber(steps, SCHEDULE))
    for key, scale in (("x0", 1.0), ("x_t", 1.0), ("eps", 3.0)):
        true = np.stack([getattr(step, key) for step in steps])
        error = np.clip(seen[key], -scale, scale) - np.clip(true, -scale, scale)
        assert np.sqrt((error**2).mean()) < bound * scale, key  # 0.06 is eight of 256 greys


def test_a_lossless_run_is_exact_to_a_level():
    steps = run(B=4)
    seen = developed(Scrubber(steps, SCHEDULE, quality="lossless"))
    for key, scale in (("x0", 1.0), ("x_t", 1.0), ("eps", 3.0)):
        true = np.clip(np.stack([getattr(step, key) for step in steps]), -scale, scale)
        assert np.abs(seen[key] - true).max() <= scale / 255 + 1e-6, key


def test_noise_that_stays_the_same_travels_as_a_difference():
    assert Scrubber(run(), SCHEDULE)._spec["runs"][0]["sheets"]["eps"]["first"]
    assert "first" not in Scrubber(run(fresh=0.9), SCHEDULE)._spec["runs"][0]["sheets"]["eps"]


def test_x_t_travels_only_where_it_does_not_add_up():
    steps = run(B=4)
    assert set(Scrubber(steps, SCHEDULE)._spec["runs"][0]["sheets"]) == {"x0", "eps"}
    odd = [replace(step, x_t=step.x_t + 0.3) for step in steps]
    scrubber = Scrubber(odd, SCHEDULE)
    assert set(scrubber._spec["runs"][0]["sheets"]) == {"x0", "eps", "x_t"}
    error = developed(scrubber)["x_t"] - np.clip(np.stack([step.x_t for step in odd]), -1, 1)
    assert np.sqrt((error**2).mean()) < 0.08


def test_images_that_overshoot_the_scale_still_add_up():
    steps = run(B=4)
    wild = [
        replace(s, x0=1.4 * s.x0, x_t=s.x_t + 0.4 * SCHEDULE.alpha[s.t] * s.x0) for s in steps
    ]
    scrubber = Scrubber(wild, SCHEDULE)
    assert set(scrubber._spec["runs"][0]["sheets"]) == {"x0", "eps"}
    assert scrubber._spec["runs"][0]["sheets"]["x0"]["scale"] == 1.5


def test_packing_reads_the_times_that_it_is_given():
    f = film(run(calls=4, B=2), SCHEDULE, images=2, frames=64)
    sheets = pack_film(f, SCHEDULE.alpha[f.t], SCHEDULE.sigma[f.t], 90)
    assert set(sheets) == {"x0", "eps"}
    assert "x_t" in pack_film(f, 0 * SCHEDULE.alpha[f.t], SCHEDULE.sigma[f.t], 90)


# ---------------------------------------------------------------- which frames


def test_a_long_run_is_thinned_as_it_goes_by_and_keeps_its_ends():
    one = np.zeros((1, 1, 4, 4), np.float32)
    steps = (
        Seen(T - i, one, one, one) for i in range(T + 1)
    )  # a generator, as from a sampler
    f = film(steps, SCHEDULE, images=1, frames=64)
    assert isinstance(f, Film) and f.steps == T + 1
    assert f.t == [*range(T, 0, -16), 0]
    assert f.step == [T - t for t in f.t]


def test_a_short_run_keeps_every_step():
    scrubber = Scrubber(run(calls=20, B=2), SCHEDULE)
    assert scrubber._spec["runs"][0]["t"] == list(range(1000, -1, -50))


def test_images_limits_how_many_travel():
    assert Scrubber(run(B=8), SCHEDULE, images=3)._spec["images"] == 3


def test_runs_of_other_lengths_stand_side_by_side():
    scrubber = Scrubber.compare(
        {"DDIM": run(20, B=4), "DDPM": run(50, B=4, fresh=0.5)}, SCHEDULE
    )
    assert [entry["title"] for entry in scrubber._spec["runs"]] == ["DDIM", "DDPM"]
    assert [len(entry["t"]) for entry in scrubber._spec["runs"]] == [21, 51]
    scrubber.frame = 50
    with pytest.raises(Exception, match="frame is 0 to 50 here, not 51"):
        scrubber.frame = 51


def test_numpy_and_torch_give_the_same_sheets():
    steps = run(calls=3, B=2)
    assert Scrubber(steps, SCHEDULE)._sheets == Scrubber(tensors(steps), SCHEDULE)._sheets


def test_colour_images():
    scrubber = Scrubber(run(calls=3, B=2, shape=(3, 16, 24)), SCHEDULE)
    spec = scrubber._spec
    assert (spec["channels"], spec["height"], spec["width"]) == (3, 16, 24)
    assert scrubber.film_strip().mode == "RGB"


def test_a_lossless_run_in_colour_is_exact_to_a_level():
    steps = run(calls=3, B=2, shape=(3, 16, 24))
    steps = [replace(s, x0=s.x0 * np.array([1, 0, -1]).reshape(3, 1, 1)) for s in steps]
    shown = developed(Scrubber(steps, SCHEDULE, quality="lossless"))
    for key, scale in (("x_t", 1), ("x0", 1), ("eps", 3)):
        wanted = np.stack([np.clip(getattr(step, key), -scale, scale) for step in steps])
        assert shown[key].shape == (4, 2, 3, 16, 24)
        assert np.abs(shown[key] - wanted).max() <= 1.01 * scale / 255


@pytest.mark.parametrize("key", ["x_t", "x0", "eps"])
def test_the_strip_paints_colours_as_they_are(key):
    values = np.array([-1.0, 0.0, 1.0]).reshape(3, 1, 1) * (3 if key == "eps" else 1)
    assert paint(key, values).tolist() == [[[0, 128, 255]]]
    grey = paint(key, values[:1])
    assert grey.tolist() == [[list(NOISE_RAMP[0])]] if key == "eps" else [[[0, 0, 0]]]


def test_a_strip_of_no_columns(scrubber):
    with pytest.raises(CourseError, match="a run and a column or more, not 0 columns"):
        scrubber.film_strip(columns=0)


def test_a_run_of_the_library():
    from course_lib import Schedule, points_denoiser, sample_ddim

    schedule = Schedule.cosine()
    points = torch.from_numpy(run(calls=1, B=10)[-1].x0)
    noise = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    steps = list(
        sample_ddim(points_denoiser(schedule, points), schedule, noise, schedule.times(10))
    )
    scrubber = Scrubber(steps, schedule)
    assert scrubber._spec["runs"][0]["alpha"][0] == 0
    error = developed(scrubber)["x_t"][-1] - steps[-1].x_t.numpy()
    assert np.sqrt((error**2).mean()) < 0.05


# ---------------------------------------------------------------- the three surfaces


@pytest.fixture(scope="module")
def scrubber() -> Scrubber:
    return Scrubber(run(), SCHEDULE, title="Discs </script> & <b>")


@pytest.fixture(scope="module")
def bundle(scrubber) -> dict:
    return scrubber._repr_mimebundle_()[0]


def srcdoc(markup: str) -> str:
    return html.unescape(re.search(r'srcdoc="([^"]*)"', markup)[1])


def test_the_bundle_has_all_three_surfaces(scrubber, bundle):
    assert bundle[VIEW]["model_id"] == scrubber.model_id
    assert bundle["text/plain"] == "Scrubber of 64 images (Discs </script> & <b>: 21 steps)"
    strip = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert strip.format == "PNG" and strip.size == scrubber.film_strip().size


def test_the_page_holds_the_module_to_the_letter_and_the_frames(scrubber, bundle):
    page = srcdoc(bundle["text/html"])
    assert module("scrubber.js") in page and scrubber._esm == module("scrubber.js")
    state = json.loads(re.search(r'id="marble-state">(.*?)</script>', page, re.S)[1])
    assert [base64.b64decode(sheet) for sheet in state["_sheets"]] == scrubber._sheets
    assert state["_spec"] == scrubber._spec
    assert page.count("</script>") == 2, "a title must not end the script"


def test_the_page_asks_for_nothing(bundle):
    page = srcdoc(bundle["text/html"])
    assert not re.findall(r"<link|\bimport\s*\(|\bfrom\s+[\"']|url\(|fetch\(", page)
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {"http://www.w3.org/2000/svg"}, (
        "a namespace, not an address"
    )


def test_the_module_has_nothing_that_ends_an_inline_script():
    text = module("scrubber.js")
    assert "</script" not in text and "<!--" not in text
    assert text.rstrip().endswith("export default { render };")
    channels = [
        int(v) for v in re.findall(r"\d+", re.search(r"light: (\[\[.*?\]\])", text)[1])
    ]
    assert channels == [v for colour in NOISE_RAMP for v in colour], (
        "the strip and the page paint noise alike"
    )


def test_the_html_shows_the_strip_where_scripts_and_iframes_are_taken_out(bundle):
    bare = re.sub(r"<iframe.*?</iframe>", "", bundle["text/html"], flags=re.S)
    image = re.search(r'<img alt="([^"]+)" [^>]*src="data:image/webp;base64,([^"]+)"', bare)
    assert "Scrubber of 64 images" in image[1]
    assert Image.open(io.BytesIO(base64.b64decode(image[2]))).format == "WEBP"


def test_the_strip_shows_more_image_from_left_to_right(scrubber):
    strip = np.asarray(scrubber.film_strip(columns=5).convert("L"), dtype=float)
    assert strip.shape[1] > 800 and np.ptp(strip) > 200
    assert scrubber.film_strip(columns=3).width < scrubber.film_strip(columns=7).width
    two = Scrubber.compare({"a": run(4, B=4), "b": run(8, B=4)}, SCHEDULE)
    assert two.film_strip().height > 1.2 * scrubber.film_strip().height


def test_sizes(scrubber, bundle):
    """The notebooks stay under 3 MB: two runs and a comparison fit in one."""
    assert len(bundle["text/html"]) < 0.75e6 and len(bundle["image/png"]) < 0.16e6
    two = Scrubber.compare({"DDIM": run(), "DDPM": run(fresh=0.5)}, SCHEDULE)
    assert len(two._repr_mimebundle_()[0]["text/html"]) < 0.9e6
    raw = 3 * 21 * 64 * 28 * 28 * 4
    assert sum(map(len, scrubber._sheets)) < raw / 20


def test_a_page_on_its_own(scrubber, tmp_path):
    scrubber.save_html(tmp_path / "run.html")
    assert (tmp_path / "run.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


# ---------------------------------------------------------------- saved lessons


def notebook_of(bundle: dict) -> nbformat.NotebookNode:
    output = nbformat.v4.new_output("display_data", bundle)
    cells = [
        nbformat.v4.new_markdown_cell("Where $x_t$ is."),
        nbformat.v4.new_code_cell("scrubber", outputs=[output]),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    model = {
        "model_name": "AnyModel",
        "model_module": "anywidget",
        "model_module_version": "*",
        "state": {},
    }
    state = {
        "state": {bundle[VIEW]["model_id"]: model},
        "version_major": 2,
        "version_minor": 0,
    }
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    return notebook


def test_a_saved_lesson_takes_the_html_and_nothing_from_afar(bundle, tmp_path):
    nbformat.write(notebook_of(bundle), tmp_path / "lesson.ipynb")
    page = to_html(tmp_path / "lesson.ipynb", tmp_path / "lesson.html").read_text(
        encoding="utf-8"
    )
    assert page.count("srcdoc=") == 1
    outside = re.sub(r'srcdoc="[^"]*"', "", page)
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?!data:)', outside)
    for needless in ("require.min.js", "mathjax", "html-manager", "mermaid"):
        assert needless not in outside.lower(), needless


def test_plain_nbconvert_shows_the_html_of_a_notebook_without_widget_state(bundle):
    from nbconvert.exporters import HTMLExporter

    page, _ = HTMLExporter().from_notebook_node(forget_widgets(notebook_of(bundle)))
    assert page.count("srcdoc=") == 1 and "html-manager" not in page


def test_forgetting_widgets_keeps_those_that_have_nothing_else(bundle):
    notebook = notebook_of({VIEW: bundle[VIEW], "text/plain": "a slider"})
    forget_widgets(notebook)
    assert VIEW in notebook.cells[1].outputs[0].data and "widgets" not in notebook.metadata


def test_a_lesson_is_found_by_how_its_name_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "COURSE", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("notebooks/04_a.ipynb", "notebooks/further/04_b.ipynb", "04_c.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for given, found in (
        ("04", tmp_path / "notebooks/04_a.ipynb"),
        ("4", tmp_path / "notebooks/04_a.ipynb"),
        ("further/4", tmp_path / "notebooks/further/04_b.ipynb"),
        ("further/04", tmp_path / "notebooks/further/04_b.ipynb"),
        ("04_b", tmp_path / "notebooks/further/04_b.ipynb"),
        ("04_c.ipynb", Path("04_c.ipynb")),
    ):
        assert export.find_lesson(given) == found, given
    with pytest.raises(ValueError, match="There is no lesson 07"):
        export.find_lesson("07")
    with pytest.raises(ValueError, match="Say which lesson"):
        export.find_lesson("")


def saved_model(*outputs):
    """What JupyterLab sends its server on a save: JSON, not nbformat's own classes."""
    cells = [
        {"cell_type": "markdown", "source": "words", "metadata": {}},
        {"cell_type": "code", "source": "x", "metadata": {}, "outputs": list(outputs)},
    ]
    content = {"cells": cells, "metadata": {"widgets": {}}, "nbformat": 4, "nbformat_minor": 5}
    return {"type": "notebook", "content": content}


def test_a_save_keeps_what_moves_without_its_kernel():
    def shown(kind="display_data", **data):
        data = {key.replace("_", "/"): value for key, value in data.items()}
        return {"output_type": kind, "data": {VIEW: {"model_id": "1"}, **data}, "metadata": {}}

    bar = "Drawing:   0%|          | 0/21 [00:00<?, ?image/s]"
    model = saved_model(
        shown(text_plain=bar),
        shown(text_plain="steps: 0it [00:00, ?it/s]"),
        shown(text_plain=[bar]),
        shown(text_plain="HBox(children=(IntSlider(value=0),))"),
        shown("execute_result", text_html="<iframe>", image_png="", text_plain="Scrubber"),
        shown(image_png="", text_plain="a picture"),
        {"output_type": "stream", "name": "stdout", "text": bar},
    )
    before_save(model=model, path="a.ipynb", contents_manager=None)
    content = model["content"]
    kept = [set(output.get("data", ["stream"])) for output in content["cells"][1]["outputs"]]
    assert kept == [
        {VIEW, "text/plain"},  # a slider of the reader's own lives as long as its kernel
        {"text/html", "image/png", "text/plain"},
        {VIEW, "image/png", "text/plain"},
        {"stream"},
    ]
    assert "widgets" not in content["metadata"]


@pytest.mark.parametrize(
    "model",
    [
        {"type": "file", "content": "text"},
        {"type": "directory", "content": []},
        {"type": "notebook", "content": None},
        {"type": "notebook", "content": {"worksheets": [], "metadata": {}}},
    ],
)
def test_a_save_of_anything_else_is_left_alone(model):
    before = json.dumps(model)
    before_save(model=model, path="x", contents_manager=None)
    assert json.dumps(model) == before


def test_the_hook_costs_the_server_nothing():
    code = (
        "import sys, course_lib.widgets.saved;"
        "print({'numpy', 'matplotlib', 'torch', 'ipywidgets', 'nbconvert'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr


def test_equations_become_mathml_where_they_can(bundle, tmp_path, monkeypatch):
    def convert(tex: str, display: str) -> ElementTree.Element:
        if "unknown" in tex:
            raise KeyError(tex)
        element = ElementTree.Element("math", {"display": display})
        element.text = tex.strip()
        return element

    notebook = notebook_of(bundle)
    notebook.cells[0].source = (
        "Where $x_t$ is and $\\unknown$ is "
        "not.\n\n$$\\begin{aligned}a\\end{aligned}$$\n\n\\begin{align}b\\end{align}"
    )
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    for name, content in {
        "latex2mathml": {},
        "latex2mathml.converter": {"convert_to_element": convert},
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    page = to_html(tmp_path / "lesson.ipynb").read_text(encoding="utf-8")
    assert '<math display="inline">x_t</math>' in page and "$\\unknown$" in page
    assert '<math display="block">\\begin{align*}a\\end{align*}</math>' in page
    assert '<math display="block">\\begin{align}b\\end{align}</math>' in page


def saved(tmp_path: Path, *cells, **fields) -> Path:
    """A notebook's file of these cells."""
    path = tmp_path / "lesson.ipynb"
    notebook = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps({**notebook, **fields}), encoding="utf-8")
    return path


def words(source: str) -> dict:
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def shown(*outputs) -> dict:
    return {
        "cell_type": "code",
        "source": "x",
        "metadata": {},
        "execution_count": None,
        "outputs": list(outputs),
    }


def test_a_text_in_an_equation_is_a_text_in_the_page(tmp_path):
    pytest.importorskip("latex2mathml")
    tex = (
        r"$\text{<b>}$ and $a < b \text{<img src=x onerror=alert(1)>}$ and $\text{&lt;i&gt;}$"
    )
    page = to_html(saved(tmp_path, words(tex))).read_text(encoding="utf-8")
    equations = re.findall("<math.*?</math>", page)
    assert len(equations) == 3
    tags = {tag for each in equations for tag in re.findall(r"<(\w+)", each)}
    assert tags <= {"math", "mrow", "mi", "mo", "mtext"}
    assert "<mo>&lt;</mo>" in equations[1] and "&lt;b&gt;" in equations[0]


def test_a_page_asks_for_nothing_that_its_notebook_asks_for(tmp_path):
    afar = "https://far.off/a.png"
    html = f"<IMG alt=x src='{afar}'><img src=//far.off/b.png>"
    data = {"output_type": "display_data", "data": {"text/html": html}, "metadata": {}}
    path = saved(tmp_path, words(f"![a]({afar})\n\n<img src='{afar}'>"), shown(data))
    page = to_html(path).read_text(encoding="utf-8")
    assert not re.search(r"<img[^>]*src=[\"']?(?:https?:)?//", page, re.IGNORECASE)
    assert page.count(f'<a href="{afar}"') == 3 and "a picture at //far.off/b.png" in page
    policy = re.search(
        '<head><meta http-equiv="Content-Security-Policy" content="([^"]*)', page
    )
    assert "default-src" in policy[1] and not re.search(r"\*|http", policy[1])


def test_a_malformed_cell_or_output_gets_a_sentence(tmp_path):
    display = {"output_type": "display_data", "metadata": {}}
    for cell in (
        shown(display),
        shown({"output_type": "what"}),
        shown({"output_type": "stream", "text": 3, "name": "stdout"}),
        shown({"output_type": "error", "ename": 1}),
        shown({**display, "data": {"image/svg+xml": None}}),
        shown({**display, "data": {"text/plain": 3}}),
        {"cell_type": "markdown", "source": 3, "metadata": {}},
        "x",
    ):
        path = saved(tmp_path, cell)
        with pytest.raises(CourseError, match="lesson.ipynb .*run it again") as caught:
            to_html(path)
        assert str(caught.value).count("\n") == 0
        assert not path.with_suffix(".html").exists()


def test_a_page_never_takes_a_notebooks_place(tmp_path):
    path = saved(tmp_path, words("x"))
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    for out in (path, tmp_path / "link", tmp_path / "other.ipynb"):
        with pytest.raises(
            CourseError, match="is a notebook, and the page would take its place"
        ):
            to_html(path, out)
    assert path.read_bytes() == before and not (tmp_path / "other.ipynb").exists()


def test_where_a_page_goes_is_tried_before_it_is_made(tmp_path, monkeypatch):
    path = saved(tmp_path, words("x"))
    monkeypatch.setattr(export, "LessonExporter", lambda: pytest.fail("a page was made"))
    (tmp_path / "folder").mkdir()
    for out, says in (
        ("gone/x.html", "There is no folder .*gone for x.html"),
        ("folder", "folder cannot be written .*it is a folder"),
        ("lesson.ipynb/x.html", "There is no folder"),
        ("a" * 300, "cannot be written"),
        ("a\0b", "is no name of a file"),
    ):
        with pytest.raises(CourseError, match=says):
            to_html(path, tmp_path / out)


def test_a_full_disk_leaves_the_page_that_was_there(tmp_path, monkeypatch):
    scrubber, path = Scrubber(run(2, 2), SCHEDULE), tmp_path / "x.html"
    scrubber.save_html(path)
    before = path.read_bytes()

    def full(self, text, encoding):
        self.write_bytes(text.encode()[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(CourseError, match="x.html cannot be written .*No space left"):
            scrubber.save_html(path)
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 45, 1), (4, 3, 45, 1), (1, 1, 5000, 1), (1, 1, 1, 5000), (1, 1, 1, 1)],
    ids=str,
)
def test_images_of_any_shape_are_shown(shape):
    """The still of a tall one was enlarged to gigabytes, and no WebP holds it."""
    steps = [Seen(t, *np.zeros((3, *shape), np.float32)) for t in (1000, 0)]
    scrubber = Scrubber(steps, SCHEDULE)
    still = scrubber.film_strip()
    assert max(still.size) <= 16_383 and still.width * still.height < 4e6
    assert scrubber._repr_mimebundle_()[0]["image/png"]


def test_what_is_no_notebook_gets_a_sentence(tmp_path):
    for name, text in (
        ("x", "not json"),
        ("dict", "{}"),
        ("list", "[]"),
        ("old", '{"nbformat": 4, "cells": 3}'),
    ):
        (tmp_path / f"{name}.ipynb").write_text(text)
    for name in ("x.ipynb", "dict.ipynb", "list.ipynb", "old.ipynb", "absent.ipynb"):
        with pytest.raises(ValueError, match=f"{name} is no notebook that can be read"):
            to_html(tmp_path / name)


def test_pictures_of_the_text_are_inside_the_page(tmp_path):
    """Pasted into a cell, or in a file beside the notebook, wherever we are called from."""
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG")
    (tmp_path / "beside.png").write_bytes(buffer.getvalue())
    code = base64.b64encode(buffer.getvalue()).decode()
    cell = nbformat.v4.new_markdown_cell("![](attachment:a.png) and ![](beside.png)")
    cell.attachments = {"a.png": {"image/png": code}}
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    assert (
        to_html(tmp_path / "lesson.ipynb")
        .read_text(encoding="utf-8")
        .count(f"data:image/png;base64,{code}")
        == 2
    )
    del cell["attachments"]
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    with pytest.raises(ValueError, match="can't be shown whole: missing attachment: a.png"):
        to_html(tmp_path / "lesson.ipynb")


# ---------------------------------------------------------------- what can't be shown


def wrong(**change) -> list[Seen]:
    """A run whose last step has something replaced."""
    steps = run(calls=2, B=2)
    return [*steps[:-1], replace(steps[-1], **change)]


BAD = {
    "no steps": (lambda: Scrubber([], SCHEDULE), "The run has no steps"),
    "a spent generator": (
        lambda: Scrubber.compare({"DDIM": iter(())}, SCHEDULE),
        "DDIM has no steps.*keep list",
    ),
    "not steps": (
        lambda: Scrubber([np.zeros(3)], SCHEDULE),
        "needs steps with t, x_t, x0 and eps",
    ),
    "no images": (
        lambda: Scrubber([Seen(0, *[np.zeros((2, 784))] * 3)], SCHEDULE),
        r"holds \[2, 784\], not images",
    ),
    "latents": (
        lambda: Scrubber([Seen(0, *[np.zeros((2, 4, 8, 8))] * 3)], SCHEDULE),
        "decode latents before",
    ),
    "no image": (
        lambda: Scrubber([Seen(0, *[np.zeros((0, 1, 8, 8))] * 3)], SCHEDULE),
        r"holds \[0, 1, 8, 8\], not images",
    ),
    "two channels": (
        lambda: Scrubber([Seen(0, *[np.zeros((2, 2, 8, 8))] * 3)], SCHEDULE),
        "decode latents before",
    ),
    "a batch that shrinks": (
        lambda: Scrubber(wrong(x0=np.zeros((1, 1, 28, 28))), SCHEDULE),
        "changes its shape: x0",
    ),
    "not a number": (
        lambda: Scrubber(wrong(eps=np.full((2, 1, 28, 28), np.nan)), SCHEDULE),
        "eps at t = 0 is not fin",
    ),
    "a time outside": (
        lambda: Scrubber(wrong(t=1001), SCHEDULE),
        "t = 1001, but the schedule runs from 0 to 1000",
    ),
    "a way back": (
        lambda: Scrubber(run(2, 2)[::-1] + run(2, 2), SCHEDULE),
        "goes out and comes back in time",
    ),
    "no schedule": (lambda: Scrubber(run(2, 2), None), "no table alpha"),
    "no runs": (lambda: Scrubber.compare({}, SCHEDULE), "no run to show"),
    "other batches": (
        lambda: Scrubber.compare({"a": run(2, 2), "b": run(2, 3)}, SCHEDULE),
        r"a and b can't be compared: they hold images \[2, 1, 28, 28\] and \[3, 1, 28, 28\]",
    ),
    "few titles": (
        lambda: Scrubber(run(2, 3), SCHEDULE, titles=["shirt"]),
        "titles names 1 images, but 3 are shown",
    ),
    "no columns": (
        lambda: Scrubber(run(2, 2), SCHEDULE, columns=0),
        "columns is a whole number, 1 or more, not 0",
    ),
    "a quality": (
        lambda: Scrubber(run(2, 2), SCHEDULE, quality="best"),
        "quality is 1 to 100",
    ),
    "a frame": (lambda: Scrubber(run(2, 2), SCHEDULE, frame=3), "frame is 0 to 2 here, not 3"),
    "a pick": (
        lambda: Scrubber(run(2, 2), SCHEDULE, picked=2),
        "picked is None or 0 to 1 here, not 2",
    ),
    "too wide": (
        lambda: Scrubber(run(2, 600), SCHEDULE, images=600),
        "do not fit in one sheet",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_shown_gets_a_sentence(case):
    make, sentence = BAD[case]
    with pytest.raises(Exception, match=sentence) as caught:
        make()
    assert str(caught.value).count("\n") == 0 and len(str(caught.value)) < 220


def test_the_widgets_package_imports_no_widget():
    code = (
        "import sys, course_lib.widgets; sys.exit(any(m in sys.modules for m in "
        "('anywidget', 'torch', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
