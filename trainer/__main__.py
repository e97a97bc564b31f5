"""`python -m trainer`: train a network on FER2013, judge any model."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from edge_agent.vision.runtime import native_messages_hidden
from trainer.datasets import USAGES, load_fer2013
from trainer.errors import TrainerError
from trainer.recipe import Recipe


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        code: int = options.run(options)
        return code
    except ImportError as error:
        print(f"trainer: {error}; run in the clone: pip install '.[train]'", file=sys.stderr)
        return 1
    except TrainerError as error:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="From FER2013 to a judged Keras model.",
        epilog="example: python -m trainer fit --data data/fer2013 --out runs/compact",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    inspect = commands.add_parser("inspect", help="read and clean the data, print counts")
    inspect.set_defaults(run=_inspect)

    usual = Recipe()
    fit = commands.add_parser("fit", help="train a network; run again to resume", formatter_class=_Defaults)
    fit.add_argument("--model", default=usual.model, help="network of trainer/zoo")
    fit.add_argument("--out", type=Path, required=True, help="run folder to write")
    fit.add_argument("--epochs", type=int, default=usual.epochs)
    fit.add_argument("--batch-size", type=int, default=usual.batch_size)
    fit.add_argument("--learning-rate", type=float, default=usual.learning_rate)
    fit.add_argument(
        "--ferplus-weight",
        type=float,
        default=usual.ferplus_weight,
        help="share of the FER+ votes in the targets, 0..1",
    )
    fit.add_argument(
        "--patience", type=int, default=usual.patience, help="epochs without improvement before stopping early"
    )
    fit.add_argument(
        "--precision", choices=["float32", "mixed_bfloat16", "mixed_float16"], default=usual.precision,
        help="mixed_bfloat16 is faster on processors with AVX512-BF16 and on GPUs",
    )  # fmt: skip
    fit.add_argument("--seed", type=int, default=usual.seed)
    fit.set_defaults(run=_fit)

    evaluate = commands.add_parser("evaluate", help="judge a .keras file or a bundle", formatter_class=_Defaults)
    evaluate.add_argument("model", type=Path, help=".keras file, bundle folder or id of a shipped bundle")
    evaluate.add_argument("--usage", choices=USAGES, default="PublicTest")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.set_defaults(run=_evaluate)

    for command in (inspect, fit, evaluate):
        command.add_argument(
            "--data", type=Path, required=True, help="folder with fer2013.csv and, if at hand, fer2013new.csv (FER+)"
        )
    return parser


class _Defaults(argparse.ArgumentDefaultsHelpFormatter):
    pass


def _inspect(options: argparse.Namespace) -> int:
    from trainer.cleaning import clean_training
    from trainer.datasets import LABELS

    data = load_fer2013(options.data)
    cleaned, counts = clean_training(data)
    print(counts)
    for usage in sorted(set(data.usage.tolist())):
        part = data.only(usage)
        print(f"{usage}: {len(part)} faces")
        for code, label in enumerate(LABELS):
            print(f"  {label:10}{int((part.labels == code).sum()):7}")
    print(f"FER+ votes: {'yes' if cleaned.votes is not None else 'no (put fer2013new.csv beside fer2013.csv)'}")
    return 0


def _fit(options: argparse.Namespace) -> int:
    with native_messages_hidden():
        importlib.import_module("keras")
    from trainer.evaluate import as_text
    from trainer.fit import fit

    recipe = Recipe(
        model=options.model,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        ferplus_weight=options.ferplus_weight,
        patience=options.patience,
        precision=options.precision,
        seed=options.seed,
    )
    result = fit(recipe, data_dir=options.data, out=options.out)
    print(f"\nvalidation, best epoch: {as_text(result['validation'])}\n\nwritten to {options.out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from trainer.evaluate import as_text, evaluate

    result = evaluate(options.model, data_dir=options.data, usage=options.usage)
    print(json.dumps(result) if options.json else as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
