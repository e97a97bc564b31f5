"""The one place that finds a TFLite runtime."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from edge_agent.errors import BundleError

Choice = Literal["auto", "ai-edge-litert", "tflite-runtime", "tensorflow"]
#: Package → module, in the order they are looked for.
RUNTIMES: Mapping[Literal["ai-edge-litert", "tflite-runtime", "tensorflow"], str] = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}


def load_interpreter(model: bytes, *, threads: int = 1, choice: Choice = "auto") -> Any:
    """Return an allocated `Interpreter` for a model held in memory; see `find_runtime`.

    A model that is malformed may end the process by a signal: see `probe`.

    Raises:
        BundleError: no runtime is installed, or it does not accept the model.
    """
    name, module = find_runtime(choice)
    try:
        with native_messages_hidden(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow's that it will drop its interpreter some day
            interpreter = module.Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{name} does not accept the model: {(str(error).splitlines() or ['?'])[0]}") from None
    return interpreter


def find_runtime(choice: Choice = "auto") -> tuple[str, Any]:
    """Return the package and the module of a TFLite runtime.

    `auto` takes the first that is installed of ai-edge-litert, tflite-runtime and TensorFlow. All three
    run int8 and float32 through XNNPACK where they were built with it.

    Raises:
        BundleError: it is not installed.
    """
    names = list(RUNTIMES) if choice == "auto" else [choice]
    for name in names:
        with contextlib.suppress(ImportError):
            return name, importlib.import_module(RUNTIMES[name])
    advice = "run: pip install ai-edge-litert" if choice == "auto" else "install it or set performance.runtime: auto"
    raise BundleError(f"no TFLite runtime found ({', '.join(names)}); {advice}")


@contextlib.contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Keep what native libraries print at start ("Created TensorFlow Lite XNNPACK delegate") off standard error."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
