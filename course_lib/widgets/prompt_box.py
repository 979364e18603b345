"""A box for a prompt: its picture grows step by step, and is then under the scrubber.

Without a kernel it shows the scrubber of its first prompt, and where scripts are not run, that
one's still.
"""

import io
import time
from collections.abc import Callable, Iterator

import ipywidgets
from PIL import Image

from course_lib.errors import CourseError
from course_lib.widgets.scrubber import Scrubber
from course_lib.widgets.sheet import as_array, quantise

_SHOWN = 192  # pixels a side while it grows


class PromptBox(ipywidgets.VBox):
    """A text field, guidance, a seed and a button; below it the picture.

    paint(prompt, guidance, seed) yields the steps of a sampler with pictures [1, 3, H, W] in
    them, as `Scrubber` takes them. It is called once at the start, for `prompt`. What it
    raises as a CourseError is said below the field.
    """

    def __init__(
        self,
        paint: Callable[[str, float, int], Iterator],
        schedule,
        *,
        prompt: str,
        guidance: float = 3.0,
        seed: int = 0,
        **traits,
    ):
        self._paint, self._schedule = paint, schedule
        self.prompt = ipywidgets.Text(
            prompt,
            description="prompt",
            layout=ipywidgets.Layout(width="auto", max_width="560px"),
        )
        self.guidance = ipywidgets.FloatSlider(
            guidance, min=0, max=10, step=0.5, description="guidance"
        )
        self.seed = ipywidgets.BoundedIntText(seed, min=0, max=2**31 - 1, description="seed")
        self.button = ipywidgets.Button(description="Paint", button_style="primary")
        self.growing = ipywidgets.Image(format="png", width=_SHOWN, height=_SHOWN)
        self.note = ipywidgets.Label("")
        self.scrubber: Scrubber | None = None
        self.button.on_click(self.run)
        super().__init__(**traits)
        self.run()

    def _controls(self) -> list:
        line = ipywidgets.HBox(
            [self.guidance, self.seed, self.button],
            layout=ipywidgets.Layout(flex_flow="row wrap"),  # of a narrow page
        )
        return [self.prompt, line, self.note]

    def run(self, *_):
        """Paint what the field says; the picture is shown after each step."""
        self.button.disabled = True
        self.note.value = "…"
        self.children = [*self._controls(), self.growing]
        began, steps = time.perf_counter(), []
        try:
            for step in self._paint(self.prompt.value, self.guidance.value, self.seed.value):
                steps.append(step)
                self.growing.value = _png(step.x0)
            seconds = time.perf_counter() - began
            self.scrubber = Scrubber(
                steps, self._schedule, columns=1, images=1, frames=max(2, len(steps))
            )
            self.scrubber.frame = len(steps) - 1  # the finished picture first
            self.children = [*self._controls(), self.scrubber]
            self.note.value = f"{len(steps) - 1} steps, {seconds:.1f} s"
        except CourseError as error:
            self.note.value = str(error)
        finally:
            self.button.disabled = False

    def still(self) -> Image.Image | None:
        """The film strip of the last picture, if there is one."""
        return self.scrubber.film_strip() if self.scrubber else None

    def __repr__(self) -> str:
        return f"PromptBox: {self.prompt.value!r}, guidance {self.guidance.value:g}"

    def _repr_mimebundle_(self, **kwargs):
        data = super()._repr_mimebundle_(**kwargs)
        if self.scrubber is None:
            return data
        shown, metadata = self.scrubber._repr_mimebundle_(**kwargs)
        kinds = ("text/html", "image/png")
        return {**data, **{kind: shown[kind] for kind in kinds}}, metadata


def _png(x) -> bytes:
    """The first picture of [B, 3, H, W] in [-1, 1], enlarged by whole steps."""
    picture = Image.fromarray(quantise(as_array(x)[0], 1.0).transpose(1, 2, 0))
    times = max(1, _SHOWN // picture.width)
    size = picture.width * times, picture.height * times
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
