"""The command line: python -m course_lib train, sample, evaluate, html, verify or doctor."""

import argparse
import json
import sys
import time
from pathlib import Path


def _add_sampling_options(parser: argparse.ArgumentParser):
    parser.add_argument("name", help="a shipped model, for example ddpm-fashion")
    parser.add_argument("--n", type=int, default=64, help="how many images")
    parser.add_argument(
        "--calls",
        type=int,
        default=20,
        help="network calls an image, those of guidance counted in",
    )
    parser.add_argument(
        "--sampler",
        help="ddim, ddpm, heun, dpmpp_2m or unipc; by default the model's best way, guide "
        "and all",
    )
    parser.add_argument(
        "--guidance",
        type=float,
        help="classifier-free guidance: 1 is plain, others take two calls",
    )
    parser.add_argument(
        "--guide", metavar="NAME", help="a weaker snapshot to be led away from: one more call"
    )
    parser.add_argument("--guide-scale", type=float, help="how far away: 1 is plain")
    parser.add_argument("--seed", type=int, default=0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "train", help="make a shipped model's weights again; a long run goes on from a cut"
    )
    command.add_argument("name", help="a recipe, for example ddpm-fashion")
    command.add_argument("--steps", type=int, help="by default the recipe's own")
    command.add_argument(
        "--folder",
        type=Path,
        help="where checkpoints and the log go; by default the user's cache",
    )
    command.add_argument("--out", type=Path, help="where the weights go; by default weights/")
    command = commands.add_parser(
        "sample", help="make images: a grid as .png, or all of them as .npz"
    )
    _add_sampling_options(command)
    command.add_argument(
        "--label", type=int, help="one class for all images; by default each in turn"
    )
    command.add_argument("--out", type=Path, default=Path("samples.png"))
    command = commands.add_parser("evaluate", help="the Fréchet distance of a shipped model")
    _add_sampling_options(command)
    command.set_defaults(n=2048)
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
        "html", help="a lesson as one HTML file that moves with no kernel and no network"
    )
    command.add_argument("notebook", type=Path)
    command.add_argument("--out", type=Path, help="by default beside the notebook")
    commands.add_parser(
        "verify", help="check the data and every weights file against their hashes"
    )
    commands.add_parser("doctor", help="what this machine has, and the mend for what is wrong")
    return parser


def _train(args):
    from course_lib.recipes import recipe

    chosen = {
        key: value
        for key, value in vars(args).items()
        if key in ("steps", "folder", "out") and value is not None
    }
    recipe(args.name).run(**chosen)


def _sampling(args):
    """The way of sampling that the options ask for; where they say nothing, the best for the
    model.
    """
    from course_lib.recipes.sampling import Sampling, best_sampling

    asked = {
        key: getattr(args, key) for key in ("sampler", "guidance", "guide", "guide_scale")
    }
    asked = {key: value for key, value in asked.items() if value is not None}
    if "guide_scale" in asked and "guide" not in asked:
        raise ValueError(
            "--guide-scale says how far to lead away from a snapshot: name it with --guide."
        )
    return Sampling(**asked) if asked else best_sampling(args.name, args.calls)


def _check_folder(path: Path):
    """Refuse a file that could not be written, before the minutes that go into it."""
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} for {path.name}: make it first.")


def _check_picture(path: Path):
    from PIL import Image

    Image.init()
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path} is neither a picture to be written (.png) nor an .npz.")


def _sample(args):
    import numpy as np

    from course_lib.data import to_uint8
    from course_lib.recipes import sampling

    _check_folder(args.out)
    if args.out.suffix != ".npz":
        _check_picture(args.out)
    labels, way = None if args.label is None else [args.label] * args.n, _sampling(args)
    images, labels = sampling.generate(
        args.name, args.n, args.calls, way, seed=args.seed, labels=labels
    )
    if args.out.suffix == ".npz":
        np.savez_compressed(args.out, images=to_uint8(images).numpy(), labels=labels.numpy())
    else:
        from PIL import Image

        from course_lib.widgets.plots import tile

        sheet = Image.fromarray((tile(images) * 255).round().astype("uint8"))
        sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST).save(
            args.out
        )
    print(f"{args.out}: {args.n} images in {way.calls(way.steps(args.calls))} calls")


def _evaluate(args):
    from course_lib.recipes import sampling

    if args.checkpoint is not None:
        _check_folder(args.checkpoint)
    figures = sampling.evaluate(
        args.name,
        args.n,
        args.calls,
        _sampling(args),
        seed=args.seed,
        checkpoint=args.checkpoint,
    )
    if args.card:
        _write_on_card(args.name, figures)
    if not args.json:
        print(
            f"{args.name}: distance {figures['fd']:.3f} in {figures['calls']} calls, n = "
            f"{args.n}; "
            f"real training images {figures['fd_floor']:.3f}, "
            f"{figures['fd'] / figures['fd_floor']:.2f} times as far"
        )
    else:
        print(json.dumps(figures))


def _write_on_card(name: str, figures: dict):
    """Keep a measurement among the card's, in place of an earlier one of the same way, calls,
    n and seed.
    """
    from course_lib.weights import WEIGHTS, read_card, write_card

    def key(row: dict) -> tuple:
        way = row["sampler"], row["guidance"], row["guide"] or "", row["guide_scale"]
        return row["n"], *way, row["calls"], row["seed"]

    card = read_card(name)
    rows = card.setdefault("figures", {}).setdefault("samplers", [])
    row = {
        part: value
        for part, value in figures.items()
        if part not in ("name", "parameters", "seconds_per_image")
    }
    card["figures"]["samplers"] = sorted(
        [old for old in rows if key(old) != key(row)] + [row], key=key
    )
    write_card(WEIGHTS / name, card)


def _html(args):
    from course_lib.widgets.export import to_html

    print(to_html(args.notebook, args.out))


def _verify(args):
    from course_lib.data import verify_data
    from course_lib.weights import shipped, verify

    began = time.perf_counter()
    verify_data()
    for name in shipped():
        verify(name)
    print(
        f"data and {len(shipped())} weights files are whole "
        f"({time.perf_counter() - began:.1f} s)"
    )


def _doctor(args):
    from course_lib import doctor

    return doctor.main()


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. What a user can mend is said in one sentence."""
    args = _parser().parse_args(argv)
    try:
        return globals()[f"_{args.command}"](args) or 0
    except KeyboardInterrupt:
        kept = getattr(args, "checkpoint", None)
        print(
            f"stopped; the same command goes on from {kept}" if kept else "stopped",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError) as error:  # the library's own errors are kinds of these
        print(f"{args.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
