"""`python -m trainer`: train the networks of the zoo, judge any model, choose its operating point."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from edge_agent.errors import AgentError
from edge_agent.vision.manifest import OperatingPoint
from edge_agent.vision.runtime import native_messages_hidden
from trainer.data.datasets import ALL, USAGES
from trainer.data.fer2013 import has_votes
from trainer.data.load import class_names, load_data
from trainer.errors import TrainerError
from trainer.evaluation.limits import MAX_FALSE_ALARMS, MAX_PEOPLE_PAGED
from trainer.labels import LABELS
from trainer.recipe import OPTIMIZERS, PRECISIONS, Recipe
from trainer.zoo import NETWORKS, recipe_for

_SVM = "svm"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader (head, less) has gone; nothing is left to say, not even at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if options.run in (_fit, _tune) else 0  # which it ended before they were done
    except ImportError as error:
        print(f"trainer: {error}; run in the clone: pip install '.[train]'", file=sys.stderr)
        return 1
    except (TrainerError, AgentError, OSError) as error:
        print(f"trainer: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\ntrainer: stopped; a training continues where it was when the same command is run again", file=sys.stderr
        )
        # The backend's threads are still at work; tearing the interpreter down beside them may abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `run` is the function of the one that was given."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="From pictures of faces to a judged Keras model.",
        epilog="example: python -m trainer fit --model two_conv --data data/fer2013 --out runs/two_conv",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    models = commands.add_parser("models", help="list the networks that can be trained")
    models.set_defaults(run=_models)

    inspect = commands.add_parser("inspect", help="read and clean the data, print counts")
    inspect.set_defaults(run=_inspect)

    fit = commands.add_parser("fit", help="train a network; run again to resume")
    fit.add_argument("--model", default="compact", help="a network of `python -m trainer models`, or svm")
    fit.add_argument("--out", type=Path, required=True, help="run folder to write")
    fit.add_argument(
        "--teachers", type=Path, nargs="+", default=[], metavar="RUN", help="learn from these finished runs as well"
    )
    fit.add_argument("--start-from", type=Path, metavar="RUN", help="begin with the weights of this finished run")
    fit.add_argument(
        "--portraits", type=Path, metavar="DIR", dest="portraits_dir",
        help="learn from everyday faces as well: portraits-NN.webp and labels.csv, see trainer/data/portraits.py",
    )  # fmt: skip
    _recipe_arguments(fit)
    fit.set_defaults(run=_fit)

    tune = commands.add_parser("tune", help="search the dense layer's width, then train with the best (KerasTuner)")
    tune.add_argument("--model", default="two_conv", help="two_conv or two_conv_dropout")
    tune.add_argument("--out", type=Path, required=True, help="run folder to write")
    tune.add_argument("--trials", type=int, default=8, help="widths to try (8)")
    tune.add_argument("--trial-epochs", type=int, default=5, help="epochs of each trial (5)")
    _recipe_arguments(tune)
    tune.set_defaults(run=_tune, teachers=[], start_from=None, portraits_dir=None)

    evaluate = commands.add_parser("evaluate", help="judge a .keras file or a bundle")
    evaluate.add_argument("model", type=Path, help=".keras file, run or bundle folder, or id of a shipped bundle")
    evaluate.add_argument(
        "--usage", choices=(*USAGES, ALL), default="PublicTest",
        help="the rows to judge (PublicTest); all for photographs that the model was not trained on",
    )  # fmt: skip
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.set_defaults(run=_evaluate)

    threshold = commands.add_parser(
        "threshold", help="choose a bundle's operating point and write it in the manifest",
        description="By person, on portraits that tell people apart, or else by photograph, on validation faces.",
    )  # fmt: skip
    threshold.add_argument("bundle", type=Path)
    chosen_on = threshold.add_mutually_exclusive_group(required=True)
    chosen_on.add_argument(
        "--portraits", type=Path, metavar="DIR",
        help="everyday faces of people told apart, see trainer/data/portraits.py; each is a visit through the rules",
    )  # fmt: skip
    chosen_on.add_argument("--data", type=Path, help="folder as for fit: FER2013, or photographs by class")
    threshold.add_argument(
        "--max-people-paged", type=float, default=MAX_PEOPLE_PAGED, metavar="SHARE",
        help="with --portraits: largest share of calm people who may be paged for in a visit, 0..1 (%(default)s)",
    )  # fmt: skip
    threshold.add_argument(
        "--max-false-alarms", type=float, default=MAX_FALSE_ALARMS, metavar="SHARE",
        help="with --data: largest share of happy, neutral and sad faces that may be taken for angry (%(default)s)",
    )  # fmt: skip
    threshold.add_argument(
        "--unseen", action="store_true",
        help="with --data: the model was not trained on it; choose on all of it, not on the part training left aside",
    )  # fmt: skip
    threshold.add_argument("--json", action="store_true", help="print one JSON object")
    threshold.set_defaults(run=_threshold)

    compare = commands.add_parser("compare", help="one table over finished runs, as Markdown")
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    compare.add_argument("--plot", type=Path, metavar="PNG", help="draw it as well")
    compare.set_defaults(run=_compare)

    for command in (inspect, fit, tune, evaluate, threshold):
        if command is not threshold:
            command.add_argument(
                "--data", type=Path, required=True,
                help="folder with fer2013.csv (and fer2013new.csv, FER+), or with a folder of photographs by class",
            )  # fmt: skip
        command.add_argument(
            "--already-cropped", action="store_true", help="the photographs are faces, framed as FER2013's"
        )
    return parser


def _recipe_arguments(command: argparse.ArgumentParser) -> None:
    """Add what a recipe is made of; unless given, each network's own choice holds."""
    usual = Recipe()
    recipe = command.add_argument_group("recipe", "defaults are compact's; other networks have their own")
    recipe.add_argument(
        "--classes", help="comma-separated, e.g. angry,happy,neutral,sad or happy,not_happy (all of the data's)"
    )
    for name, kind, about in (
        ("epochs", int, "at most so many"),
        ("batch-size", int, "faces a step"),
        ("optimizer", str, " or ".join(OPTIMIZERS)),
        ("learning-rate", float, "at its highest"),
        ("weight-decay", float, "per step, times the learning rate"),
        ("mixup", float, "share of batches whose faces are blended in pairs"),
        ("cutmix", float, "share of batches whose faces get a patch of another"),
        ("label-smoothing", float, "share of each target spread over all classes"),
        ("class-balance", float, "0 all faces count alike, 1 all classes count alike"),
        ("teacher-weight", float, "share of the teachers in the targets"),
        ("views", int, "augmented copies of each face that teachers judge"),
        ("portraits-weight", float, "how much a portrait counts against a face of FER2013, with --portraits (1)"),
        ("max-faces", int, "train on so many faces only"),
        ("patience", int, "epochs without improvement before stopping early"),
        ("precision", str, ", ".join(PRECISIONS) + "; mixed_bfloat16 is faster with AVX512-BF16 and on GPUs"),
        ("seed", int, "of everything that is drawn"),
        ("dense-units", int, "width of the dense layer of two_conv"),
        ("weights", str, "what the network learned elsewhere: imagenet, random or a file"),
        ("frozen-epochs", int, "epochs before a frozen base is fine-tuned"),
        ("freeze-up-to", str, "the last layer that keeps its weights of --start-from, e.g. stage1_block1"),
        ("fine-tune-from", str, "the layer of the base from which up it is"),
    ):
        default = getattr(usual, name.replace("-", "_"))
        recipe.add_argument(
            f"--{name}", type=kind, metavar=name.upper().replace("-", "_"),
            help=about + (f" ({default})" if default is not None else ""),
        )  # fmt: skip
    recipe.add_argument(
        "--votes", action=argparse.BooleanOptionalAction,
        help="a second answer, to what ten people said, where the data has FER+ votes (compact and its teachers do)",
    )  # fmt: skip
    recipe.add_argument(
        "--mirrored", action=argparse.BooleanOptionalAction,
        help="average what the finished network thinks of a face and of its mirror image (compact does)",
    )  # fmt: skip


def _recipe(options: argparse.Namespace, *, model: str) -> Recipe:
    names = set(Recipe.__dataclass_fields__) - {
        "model",
        "teachers",
        "start_from",
        "classes",
        "validation_fraction",
        "split_seed",
        "portraits",
    }
    given: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.classes:
        given["classes"] = tuple(name.strip().lower() for name in options.classes.split(","))
    elif model == _SVM or "classes" not in NETWORKS.get(model, NETWORKS["compact"]).recipe:
        given["classes"] = class_names(options.data)
    if options.votes is None and not (has_votes(options.data) and given.get("classes", LABELS) == LABELS):
        given["votes"] = False
    given["already_cropped"] = options.already_cropped
    given["portraits"] = options.portraits_dir is not None
    given["teachers"] = tuple(folder.resolve().name for folder in options.teachers)
    if options.start_from is not None:
        given["start_from"] = options.start_from.resolve().name
    if model == _SVM:
        if options.teachers or options.start_from is not None or options.portraits_dir is not None:
            raise TrainerError(f"{_SVM} learns from no other run, and from no portraits")
        given["votes"] = False
        return Recipe(**{**given, "model": _SVM, "batch_size": 2})
    return recipe_for(model, given)


def _models(options: argparse.Namespace) -> int:
    del options
    for name, network in NETWORKS.items():
        classes = network.recipe.get("classes")
        print(f"{name:18} {network.about}{'; ' + ', '.join(classes) if classes else ''}")
    print(f"{_SVM:18} a support vector machine on grey values, as a baseline")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from trainer.data.cleaning import clean_training

    data = load_data(options.data, already_cropped=options.already_cropped)
    cleaned, counts = clean_training(data)
    print(counts)
    for usage in sorted(set(data.usage.tolist())):
        part = data.only(usage)
        print(f"{usage}: {len(part)} faces")
        for code, label in enumerate(data.classes):
            print(f"  {label:10}{int((part.labels == code).sum()):7}")
    print(f"FER+ votes: {'yes' if cleaned.votes is not None else 'no (put fer2013new.csv beside fer2013.csv)'}")
    return 0


def _fit(options: argparse.Namespace) -> int:
    recipe = _recipe(options, model=options.model)
    if recipe.model == _SVM:
        from trainer.fit.baseline import fit_svm

        return _fitted(
            fit_svm(recipe, data_dir=options.data, out=options.out),
            options.out,
        )
    return _fit_network(recipe, options)


def _fit_network(recipe: Recipe, options: argparse.Namespace) -> int:
    _import_quietly("keras")
    from trainer.fit.training import fit

    result = fit(
        recipe,
        data_dir=options.data,
        out=options.out,
        teachers=options.teachers,
        start_from=options.start_from,
        portraits=options.portraits_dir,
    )
    return _fitted(result, options.out)


def _fitted(result: dict[str, Any], out: Path) -> int:
    from trainer.evaluation.evaluate import as_text

    print(f"\nvalidation, best epoch: {as_text(result['validation'])}")
    print(f"\nwritten to {out}; look at {out / 'report' / 'index.html'}")
    return 0


def _tune(options: argparse.Namespace) -> int:
    _import_quietly("keras")
    try:
        from trainer.fit.tune import search
    except ImportError:
        raise ImportError("KerasTuner is missing") from None
    from dataclasses import replace

    recipe = _recipe(options, model=options.model)
    units = search(
        replace(recipe, epochs=options.trial_epochs),
        data_dir=options.data,
        out=options.out,
        trials=options.trials,
    )
    return _fit_network(replace(recipe, dense_units=units), options)


def _evaluate(options: argparse.Namespace) -> int:
    from trainer.evaluation.evaluate import as_text, evaluate

    result = evaluate(
        options.model, data_dir=options.data, usage=options.usage, already_cropped=options.already_cropped
    )
    print(json.dumps(result) if options.json else as_text(result))
    return 0


def _threshold(options: argparse.Namespace) -> int:
    from edge_agent.vision.typed_json import plain
    from trainer.evaluation.threshold import threshold_by_person, threshold_by_photograph

    for name in ("max_false_alarms", "max_people_paged"):
        if not 0 < getattr(options, name) < 1:
            raise TrainerError(f"--{name.replace('_', '-')} {getattr(options, name):g} is not between 0 and 1")
    if options.portraits is not None:
        point = threshold_by_person(
            options.bundle, portraits=options.portraits, max_people_paged=options.max_people_paged
        )
    else:
        point = threshold_by_photograph(
            options.bundle,
            data_dir=options.data,
            max_false_alarms=options.max_false_alarms,
            unseen=options.unseen,
            already_cropped=options.already_cropped,
        )
    if options.json:
        print(json.dumps(plain(point)))
    elif options.portraits is not None:
        print(_by_person(point))
    else:
        print(
            f"angry from {point.threshold:.4f} up: recall {point.recall:.3f}, precision "
            f"{point.precision:.3f}, false alarms {point.false_alarms:.3f} of the others, "
            f"on {point.chosen_on}; written in the manifest"
        )
    return 0


def _by_person(point: OperatingPoint) -> str:
    lines = [
        f"angry from {point.threshold:.2f} up, for {point.dwell_s:g} s; written in the manifest",
        f"paged for in a visit of {point.visit_s:g} s, of people whom training left aside, with 95 % intervals:",
    ]
    for name, found in (point.people or {}).items():
        lines.append(
            f"  {name:8}{found.paged:6.1%}  ({found.low:.1%} to {found.high:.1%}) "
            f"of {found.people} people, {found.visits} visits"
        )
    return "\n".join(lines)


def _compare(options: argparse.Namespace) -> int:
    from trainer.evaluation.compare import as_markdown, compare, draw

    rows = compare(options.runs)
    print(as_markdown(rows))
    if options.plot:
        draw(rows, options.plot)
    return 0


def _import_quietly(module: str) -> None:
    with native_messages_hidden():
        importlib.import_module(module)


if __name__ == "__main__":
    sys.exit(main())
