"""A recipe as a value: all that decides what a run makes, and the parts that it is built
of.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from course_lib.data import Batches
from course_lib.device import place
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.training import Phase

if TYPE_CHECKING:
    from course_lib.metrics.measure import Maker


@dataclass(frozen=True)
class Leg:
    """A part of the run: it starts from the averaged weights of the part before, and at the
    full learning rate again.

    So a finished run can be carried on from its weights file alone, without the optimizer's
    state.
    """

    steps: int
    # fraction of its steps at the full learning rate; over the rest it comes down in a line
    flat: float = 0.4


@dataclass(frozen=True)
class Flag:
    """One flag of the command line, as data: what argparse is told of it."""

    name: str  # "--guide-scale"
    keywords: dict  # type, help, metavar, choices ... of argparse's add_argument
    cond: bool = False  # says what the images are of, and not how they are made

    @property
    def key(self) -> str:
        """The option that it sets: "guide_scale"."""
        return self.name.removeprefix("--").replace("-", "_")


@dataclass(frozen=True)
class Setting:
    """Where, and as which process, leg `number` of a run is trained."""

    leg: Leg
    number: int  # from 1
    seed: int  # of this leg: it has its own noise and its own order of the images
    device: torch.device
    draws: Draws  # this process's share of every random number; saved with the run
    prepare: Callable[[nn.Module], nn.Module]  # Accelerate's, or the identity
    start: nn.Module | None = None  # the weights that a later leg goes on from

    def begun(self, net: nn.Module, *, compiled: bool = False) -> nn.Module:
        """A new net as the leg begins with it: on the device, and with the weights that it
        goes on from.
        """
        if self.start is not None:
            net.load_state_dict(self.start.state_dict())
        return place(net, self.device, compiled=compiled)


@dataclass
class Run:
    """What a recipe builds for one leg, at its beginning."""

    phases: list[Phase]  # one normally, two for a GAN
    batches: Batches  # or anything endless that has state_dict and load_state_dict
    result: nn.Module  # what is shipped, usually the first phase's ema.module


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run as a value: `asdict` of it is the fingerprint that its remains are held against.

    A family's recipe is a frozen subclass of it, with fields of its own (schedule, target ...)
    and the methods below.
    """

    name: str  # of the weights, and on the command line
    config: Any  # the net's frozen config
    batch_size: int
    lr: float
    legs: tuple[Leg, ...]
    seed: int = 0

    # floats at rest: float16, int8 with a scale a row (`eight_bits`), or None, as trained
    stored: ClassVar[torch.dtype | None] = torch.float16
    shared: ClassVar[bool] = True  # whether several processes may train it together

    @property
    def kept(self) -> torch.dtype | None:
        """What a leg's end is kept in, from which the next one starts: never eight bits."""
        return torch.float16 if self.stored == torch.int8 else self.stored

    @property
    def makes_images(self) -> bool:
        """Whether it has a maker."""
        return type(self).maker is not Recipe.maker

    def build(self, setting: Setting) -> Run:
        """The nets, phases and data of one leg."""
        raise NotImplementedError

    def about(self) -> dict:
        """For the card: "what", "data", "data_sha256"; "reading", how the net is read; and
        "parts", name -> SHA-256 of the frozen nets that it was trained with.
        """
        raise NotImplementedError

    def snapshots(self) -> dict[str, int]:
        """Weights kept on the way: name -> step of the first leg."""
        return {}

    def figures(self, module: nn.Module) -> dict:
        """What is measured once, at the end of training, and kept on the card."""
        return {}

    def maker(self, module: nn.Module, name: str, **options) -> "Maker":
        """The maker of a module of this recipe, whose weights bear `name`; options as of
        `flags`.
        """
        raise CourseError(f"{name} makes no images.")

    def flags(self) -> tuple[Flag, ...]:
        """What the command line offers for making images: an option of `maker` each."""
        return ()

    def ways(self) -> tuple[dict, ...]:
        """The ways of making images that stand in the course's comparison of all families:
        options of `maker` each.
        """
        return ({},)

    def conditions(self, n: int, **asked):
        """What the n images are to be of, from the flags with `cond`; None where none was
        asked.
        """
        return None


def fingerprint(recipe: Recipe, number: int, start: str | None, dtype: str) -> str:
    """All that decides what leg `number` makes, but for its length: a run may be made longer.

    start: the SHA-256 of the weights that it goes on from. dtype: what networks compute in.
    """
    settings, about = asdict(recipe), recipe.about()
    leg = asdict(recipe.legs[number - 1])
    del settings["legs"], leg["steps"]
    kind = {"leg": number, **leg, "start": start and start[:12], **settings}
    kind |= {key: about[key] for key in ("data_sha256", "parts") if key in about}
    return json.dumps({**kind, "precision": dtype}, default=str)


def parameters_of(module: nn.Module) -> int:
    """How many numbers a module has learned."""
    return sum(parameter.numel() for parameter in module.parameters())
