"""The command line: python -m course_lib train, sample, evaluate, showdown, sd, html, verify,
doctor.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from course_lib.errors import CourseError

SAMPLING = ("sample", "evaluate")  # the commands that take a model's own flags
VALUED = ("--n", "--seed", "--out", "--checkpoint")  # their other options with a value


def _named(argv: list[str]) -> str | None:
    """The shipped model that a sampling command is about, wherever its name stands."""
    from course_lib.weights import shipped

    names, words = shipped(), zip(argv, argv[1:], strict=False)
    # what follows a plain option is its value: a file may be called as a model is
    return next(
        (word for before, word in words if word in names and before not in VALUED), None
    )


def _flags(argv: list[str]) -> tuple:
    """The sampling flags of the model that is named, as its recipe gives them."""
    if not argv or argv[0] not in SAMPLING:
        return ()
    from course_lib.recipes import recipe_of

    try:
        name = _named(argv)
        return recipe_of(name).flags() if name else ()
    except CourseError:  # a damaged list or card: said where it is used
        return ()


def _add_sampling_options(parser: argparse.ArgumentParser, flags: tuple, n: int | None):
    parser.add_argument("name", help="a shipped model, for example ddpm-fashion")
    usual = "as many as its yardstick takes" if n is None else n
    parser.add_argument("--n", type=int, default=n, help=f"how many images ({usual})")
    parser.add_argument("--seed", type=int, default=0)
    if not flags:
        parser.epilog = "A model's own flags are shown where it is named: NAME --help."
    group = parser.add_argument_group("this model's own") if flags else None
    for flag in flags:
        group.add_argument(flag.name, **flag.keywords)


def _add_sd(command: argparse.ArgumentParser):
    command.add_argument(
        "--weights", type=Path, required=True, metavar="FOLDER", help="diffusers' layout"
    )
    command.add_argument("--prompt", required=True)
    command.add_argument("--negative", default="", help="what to lead away from")
    command.add_argument("--out", type=Path, default=Path("sd.png"))
    command.add_argument("--steps", type=int, default=20, help="of DDIM (20)")
    command.add_argument("--guidance", type=float, default=7.5, help="1 is plain (7.5)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--size", type=int, default=512, help="pixels a side (512)")
    command.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        help="of the nets; by default float16 on a GPU, float32 on a CPU",
    )


def _parser(flags: tuple = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "train", help="make a shipped model's weights again; a long run goes on from a cut"
    )
    command.add_argument("name", help="a recipe, for example ddpm-fashion")
    command.add_argument("--steps", type=int, help="by default the recipe's own")
    command.add_argument(
        "--seconds", type=float, help="in place of steps: the run ends by the clock"
    )
    command.add_argument(
        "--batch-size", type=int, help="images a step; by default the recipe's own"
    )
    command.add_argument(
        "--lr", type=float, help="the peak learning rate; by default the recipe's own"
    )
    command.add_argument(
        "--folder",
        type=Path,
        help="where checkpoints and the log go; by default the user's cache",
    )
    command.add_argument(
        "--out",
        type=Path,
        help="where the weights go; by default weights/; a run of another length must say it",
    )
    command.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FILE",
        help="finished weights, card beside: one more leg of --steps or --seconds on them",
    )
    command = commands.add_parser(
        "sample", help="make images: a grid as .png, or all of them as .npz"
    )
    _add_sampling_options(command, flags, n=64)
    command.add_argument("--out", type=Path, default=Path("samples.png"))
    command = commands.add_parser("evaluate", help="the Fréchet distance of a shipped model")
    _add_sampling_options(command, tuple(f for f in flags if not f.cond), n=None)
    command.add_argument(
        "--json", action="store_true", help="one JSON object as the last line"
    )
    command.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="for runs of hours: keep what is done there, and go on from it",
    )
    command.add_argument(
        "--card", action="store_true", help="write the figures into the model's card as well"
    )
    command = commands.add_parser(
        "showdown", help="all families on one table, from their cards; nothing is sampled"
    )
    how = command.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="one JSON object as the last line")
    how.add_argument("--markdown", action="store_true", help="as the README has it")
    command.add_argument(
        "--measure",
        action="store_true",
        help="first measure what is missing: rows without a net, seconds, rows of a card",
    )
    _add_sd(commands.add_parser("sd", help="run Stable Diffusion 1.x from a published folder"))
    command = commands.add_parser(
        "html", help="a lesson as one HTML file that moves with no kernel and no network"
    )
    command.add_argument(
        "notebook", type=Path, help="a lesson as for lab (04, further/04), or an .ipynb file"
    )
    command.add_argument("--out", type=Path, help="by default beside the notebook")
    commands.add_parser(
        "verify", help="check the data and every weights file against their hashes"
    )
    commands.add_parser("doctor", help="what this machine has, and the mend for what is wrong")
    return parser


def _train(args):
    from course_lib.recipes import recipe
    from course_lib.runs import run

    keys = ("steps", "seconds", "start", "batch_size", "lr", "folder", "out")
    chosen = {key: getattr(args, key) for key in keys}
    run(recipe(args.name), **chosen)


def _maker(args, flags: tuple):
    """The maker that the arguments ask for."""
    from course_lib.recipes import maker

    options = {flag.key: getattr(args, flag.key) for flag in flags if not flag.cond}
    return maker(args.name, **options)


def _sample(args, flags: tuple = ()):
    from course_lib.files import check_destination
    from course_lib.metrics.measure import check_number
    from course_lib.pictures import check_picture, write_images
    from course_lib.recipes import recipe_of

    check_number(args.n)
    check_destination(args.out)
    if args.out.suffix != ".npz":
        check_picture(args.out, " or .npz")
    asked = {flag.key: getattr(args, flag.key) for flag in flags if flag.cond}
    cond = recipe_of(args.name).conditions(args.n, **asked)
    maker, n = _maker(args, flags), args.n if cond is None else len(cond)
    images, shown = maker.make(n, args.seed, cond)
    write_images(args.out, images, shown)
    print(f"{args.out}: {n} images in {maker.cost['calls']} calls")


def _evaluate(args, flags: tuple = ()):
    from course_lib.files import check_destination
    from course_lib.metrics import YARDSTICKS, measure
    from course_lib.weights import WEIGHTS, read_card

    if args.checkpoint is not None:
        check_destination(args.checkpoint)
    if args.card:
        check_destination(WEIGHTS / f"{args.name}.json")
    own = tuple(flag for flag in flags if not flag.cond)
    maker = _maker(args, own)
    n = YARDSTICKS[maker.yardstick].n if args.n is None else args.n
    figures = measure(maker, n, seed=args.seed, checkpoint=args.checkpoint)
    if args.card:
        _write_on_card(args.name, figures)
    # what was measured once, at the end of training, with its protocol
    likelihood = read_card(args.name).get("figures", {}).get("likelihood", {})
    if args.json:
        print(json.dumps({**figures, **likelihood}))
        return
    print(
        f"{args.name}: distance {figures['fd']:.3f} in {figures['calls']} calls, n = {n}; "
        f"real training images {figures['fd_floor']:.3f}, {_how_far(figures)}"
    )
    for key, unit in (("bits_per_dim", "bits a dimension"), ("nats", "nats")):
        if key in likelihood:
            print(f"{likelihood[key]} {unit}: {likelihood['protocol']}")


def _how_far(figures: dict) -> str:
    """A distance in floors; of so few images that it would say nothing, that instead."""
    from course_lib.metrics import YARDSTICKS, yardsticks

    usual = min(each.small for each in YARDSTICKS.values())
    if figures["n"] <= yardsticks.FEW:
        return (
            f"and neither tells anything: {figures['n']} images are too few to know how they "
            f"spread. Ask for hundreds; the course measures with {usual:,}"
        )
    return f"{figures['fd'] / figures['fd_floor']:.2f} times as far"


def _showdown(args):
    from course_lib import showdown

    if args.measure:
        showdown.record(log=lambda line: print(line, file=sys.stderr))
    found = showdown.table()
    if args.json:
        print(json.dumps(found))
    elif args.markdown:
        print(showdown.markdown(found["rows"]))
    else:
        print(showdown.text(found["rows"]))
        floors = {row["n"]: row["fd_floor"] for row in found["rows"] if row["n"]}
        floors |= {r["n_full"]: r["fd_floor_full"] for r in found["rows"] if r["n_full"]}
        print("floor: " + ", ".join(f"{fd:.3f} with {n:,}" for n, fd in floors.items()))
        print(f"seconds: {found['seconds']}; {found['machine']}")


def _write_on_card(name: str, figures: dict):
    """Keep a measurement among the card's."""
    from course_lib.metrics.measure import with_row
    from course_lib.weights import WEIGHTS, read_card, write_card

    card = read_card(name)
    kept = card.setdefault("figures", {})
    kept["rows"] = with_row(kept.get("rows", []), figures)
    write_card(WEIGHTS / name, card)


def _sd(args):
    import torch
    from PIL import Image

    from course_lib.data import to_uint8
    from course_lib.device import default_device
    from course_lib.files import check_destination
    from course_lib.interop import sd15
    from course_lib.pictures import check_picture, save_picture

    check_destination(args.out)
    check_picture(args.out)
    device = default_device()
    usual = "float32" if device.type == "cpu" else "float16"
    dtype = getattr(torch, args.precision or usual)
    pipeline = sd15.load(args.weights, device, dtype)
    options = {key: getattr(args, key) for key in ("seed", "size", "steps", "guidance")}
    picture = pipeline.paint(args.prompt, negative=args.negative, progress=True, **options)
    pixels = to_uint8(picture[None])[0].permute(1, 2, 0).numpy()
    save_picture(Image.fromarray(pixels), args.out)
    print(f"{args.out}: {args.steps} steps of DDIM, guidance {args.guidance:g}")


def _html(args):
    from course_lib.widgets.export import to_html

    print(to_html(args.notebook, args.out))


def _verify(args):
    from course_lib.data import verify_data
    from course_lib.data.emoji import verify_emoji
    from course_lib.weights import shipped, verify

    began = time.perf_counter()
    verify_data()
    verify_emoji()
    for name in shipped():
        verify(name)
    print(
        f"data and {len(shipped())} weights files are whole "
        f"({time.perf_counter() - began:.1f} s)"
    )


def _doctor(args):
    from course_lib import doctor

    return doctor.main()


def _refuse(args, unknown: list[str], parser: argparse.ArgumentParser):
    """Say what is wrong with arguments that no flag of this command takes."""
    if args.command in SAMPLING:
        from course_lib.weights import read_card

        read_card(args.name)  # where there is no such model, it has no flags of its own
    parser.error(f"{args.command} has no {' '.join(unknown)}")


def read_words(argv: list[str]) -> argparse.Namespace:
    """What a command line asks for, as far as it can be read without torch: course.py asks
    here before it installs anything.

    SystemExit, in argparse's words, for what no flag takes; CourseError for a recipe that
    isn't there. A sampling command's own flags are its model's, and are left to `main`.
    """
    from course_lib.recipes import check_recipe

    parser = _parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown and args.command not in SAMPLING:
        _refuse(args, unknown, parser)
    if args.command == "train":
        check_recipe(args.name)
    return args


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. What a user can mend is said in one sentence."""
    for stream in (sys.stdout, sys.stderr):  # one that lacks a letter escapes it
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    flags = _flags(argv)
    parser = _parser(flags)
    args, unknown = parser.parse_known_args(argv)
    more = (flags,) if args.command in SAMPLING else ()
    try:
        if unknown:
            _refuse(args, unknown, parser)
        return globals()[f"_{args.command}"](args, *more) or 0
    except KeyboardInterrupt:
        kept = getattr(args, "checkpoint", None)
        print(
            f"stopped; the same command goes on from {kept}" if kept else "stopped",
            file=sys.stderr,
        )
        return 130
    except (CourseError, OSError) as error:
        print(f"{args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # while it was still importing
        print("stopped", file=sys.stderr)
        sys.exit(130)
