"""The password that the broker knows this client by."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_agent.config import Mqtt
from edge_agent.errors import ConfigError


def read_password(mqtt: Mqtt) -> str | None:
    """Return the broker password from systemd's credential `mqtt-password`, else from `mqtt.password_file`.

    The service sees the credential; commands that are run beside it see the file.

    Raises:
        ConfigError: the file is named but cannot be read, or others than its owner may read it.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / "mqtt-password" if folder else None
    path = credential if credential is not None and credential.exists() else mqtt.password_file
    if path is None:
        return None
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ConfigError(f"everybody may read {path}; run: chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        raise ConfigError(
            f"cannot read the password file {path}: it is not there; a name without a folder is looked for beside the "
            "file that has it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the password file {path}: {error}") from None
