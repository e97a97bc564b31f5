"""A camera agent that notices an upset customer and pages staff over MQTT.

The folders are the pipeline, in order: `camera` → `vision` → `alerting` → `delivery` → `pager`; `pipeline`
joins the first three for one frame, `app` is the daemon's loop and `cli` the commands.
"""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())
