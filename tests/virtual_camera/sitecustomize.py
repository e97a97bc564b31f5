"""Lets picamera2 run where there is neither a display nor dma-buf: Python imports this file before anything else.

Only what needs a Raspberry Pi's devices is replaced: the display module, and where buffers come from. libcamera, its
virtual pipeline, picamera2 and the agent are the real ones.
"""

from __future__ import annotations

import sys
from typing import Any


class _Display:
    """Stands for every name of pykms; nobody opens a display here."""

    def __getattr__(self, name: str) -> _Display:
        return _Display()

    def __call__(self, *_: object, **__: object) -> _Display:
        return _Display()


sys.modules.update({"kms": _Display(), "pykms": _Display()})  # type: ignore[dict-item]

try:
    import picamera2
    import picamera2.picamera2 as inside
    from picamera2.allocators import LibcameraAllocator
    from picamera2.allocators.allocator import Allocator
except ImportError:  # another Python of the same tree
    pass
else:
    _configure = picamera2.Picamera2.configure

    def configure(self: Any, *arguments: Any, **named: Any) -> Any:
        """Take buffers from libcamera instead of the Pi's dma-buf heap."""
        self.allocator = LibcameraAllocator(self.camera)
        return _configure(self, *arguments, **named)

    inside.DmaAllocator = Allocator
    picamera2.Picamera2.configure = configure
    picamera2.Picamera2._get_raw_modes = lambda _self: [{"format": "NV12", "size": (640, 512)}]
