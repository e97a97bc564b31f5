"""Models that came after the agent: staged, tried, activated, and taken back when the next start fails.

A bundle is staged only if a trusted key signed its manifest, which names the hashes of everything else in it
(Ed25519; Bernstein et al., "High-speed high-security signatures", 2011), and if its golden vectors hold on this very
computer. What is active is one small file, replaced in one step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edge_agent.config import SEGMENT, Config
from edge_agent.errors import BundleError
from edge_agent.vision.bundle import MAX_MODEL_BYTES, find_bundle, load_bundle
from edge_agent.vision.emotion import EmotionClassifier
from edge_agent.vision.manifest import MAX_MANIFEST_BYTES

SIGNATURE = "manifest.sig"
_FILES = {
    "manifest.json": MAX_MANIFEST_BYTES,
    SIGNATURE: 1024,
    "model.tflite": MAX_MODEL_BYTES,
    "golden.npz": MAX_MODEL_BYTES,
}


@dataclass(frozen=True, slots=True)
class _Active:
    """What `active.json` says.

    Attributes:
        id: of the staged bundle in use; empty for the configured model.
        previous: what a rollback goes back to.
        confirmed: it has processed a frame.
        starts: of the agent since it was activated, until it is confirmed.
    """

    id: str = ""
    previous: str = ""
    confirmed: bool = True
    starts: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Which model to start with.

    Attributes:
        model: a path, or what the configuration names.
        rolled_back: id of the model that was given up because the last start with it failed; empty otherwise.
    """

    model: str
    rolled_back: str = ""


class ModelStore:
    """The staged models of one device, below `outbox.state_dir`.

    Args:
        trusted_keys: PEM files of Ed25519 public keys.
    """

    def __init__(self, state_dir: Path, *, trusted_keys: Sequence[Path] = ()) -> None:
        self._folder, self._trusted_keys = state_dir / "models", trusted_keys
        self._chosen = ""

    def staged(self) -> list[str]:
        """Return the ids of the staged models, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if (path / "manifest.json").is_file())

    @property
    def active(self) -> str:
        """Id of the staged model in use; empty for the configured one."""
        return self._read().id

    def stage(self, source: Path) -> str:
        """Verify, try and copy a bundle; return its id. Nothing is switched yet.

        Raises:
            BundleError: it is not signed by a trusted key, altered, too large, or fails its golden vectors here.
        """
        verify(source, self._trusted_keys)
        bundle = load_bundle(source, kind="emotion-classifier")
        if not re.fullmatch(SEGMENT, bundle.id) or bundle.id.startswith("."):
            raise BundleError(f"{source}: the id {bundle.id!r} is not a name of letters, digits, _ . -")
        temporary = self._folder / f".{bundle.id}.staging"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            for name in _FILES:
                shutil.copyfile(source / name, temporary / name)
            # What was copied is what will run: verified and tried again in its place.
            verify(temporary, self._trusted_keys)
            EmotionClassifier(load_bundle(temporary, kind="emotion-classifier"))
            target = self._folder / bundle.id
            if target.exists():
                if (target / "manifest.json").read_bytes() != (temporary / "manifest.json").read_bytes():
                    raise BundleError(
                        f"another model {bundle.id!r} is staged already; give the new one an id of its own"
                    )
                return bundle.id
            temporary.rename(target)
            self._hand_over(target, *target.iterdir())
        except OSError as error:
            raise BundleError(f"cannot stage {source}: {error.strerror}") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return bundle.id

    def activate(self, model_id: str) -> None:
        """Use a staged model from the next start on.

        Raises:
            BundleError: it is not staged, or does not pass its self-test any more.
        """
        if model_id not in self.staged():
            raise BundleError(f"no staged model {model_id!r}; staged: {', '.join(self.staged()) or 'none'}")
        folder = self._folder / model_id
        verify(folder, self._trusted_keys)
        EmotionClassifier(load_bundle(folder, kind="emotion-classifier"))
        before = self._read()
        if before.id != model_id:
            self._write(_Active(model_id, previous=before.id, confirmed=False))

    def rollback(self) -> str:
        """Go back to the model before; return its id, empty for the configured one."""
        before = self._read()
        self._write(_Active(before.previous))
        return before.previous

    def choose(self, configured: str) -> Choice:
        """Return the model to start with, and note that it is tried.

        A model whose last start never came to its first frame is given up for the one before.
        """
        active = self._read()
        rolled_back = ""
        if active.id and not active.confirmed and active.starts > 0:
            rolled_back = active.id
            active = _Active(active.previous)
            self._note(active)
        elif active.id and not active.confirmed and not self._note(replace(active, starts=active.starts + 1)):
            # A start that leaves no trace could be tried for ever.
            active = _Active(active.previous)
        self._chosen = active.id
        return Choice(self._path(active, configured), rolled_back)

    def path(self, configured: str) -> str:
        """Return the model the next start will try, and note nothing."""
        return self._path(self._read(), configured)

    def confirm(self) -> None:
        """Note that the model `choose` returned has processed a frame."""
        active = self._read()
        if not active.confirmed and active.id == self._chosen:
            self._note(replace(active, confirmed=True))

    def _path(self, active: _Active, configured: str) -> str:
        return str(self._folder / active.id) if active.id else configured

    def _note(self, active: _Active) -> bool:
        """Write if the disk takes it, and say so; the agent must run whatever it does."""
        try:
            self._write(active)
        except BundleError:
            return False
        return True

    def _read(self) -> _Active:
        try:
            return _Active(**json.loads((self._folder / "active.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Active()

    def _write(self, active: _Active) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._hand_over(self._folder)
            temporary = self._folder / ".active.json"
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(asdict(active), file)
                file.flush()
                os.fsync(file.fileno())
            self._hand_over(temporary)
            temporary.replace(self._folder / "active.json")
        except OSError as error:
            raise BundleError(f"cannot write {self._folder}: {error.strerror}") from None

    def _hand_over(self, *paths: Path) -> None:
        """Give what root wrote to the owner of the state folder, who is to change it later."""
        if os.geteuid() == 0:
            owner = self._folder.parent.stat()
            for path in paths:
                os.chown(path, owner.st_uid, owner.st_gid)


def verify(folder: Path, trusted_keys: Sequence[Path]) -> None:
    """Check the signature of a bundle's manifest.

    Raises:
        BundleError: it is unsigned, signed by nobody trusted, or a file is larger than any bundle's.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise BundleError("checking signatures needs the package cryptography: pip install cryptography") from None
    if not trusted_keys:
        raise BundleError("no key is trusted: name the files of public keys in emotion.trusted_keys")
    try:
        for name, limit in _FILES.items():
            path = folder / name
            if not path.is_file():
                hint = "; sign it: python -m converter sign" if name == SIGNATURE else ""
                raise BundleError(f"{path} is missing{hint}")
            if path.stat().st_size > limit:
                raise BundleError(f"{path} is larger than {limit} bytes")
        manifest, signature = (folder / "manifest.json").read_bytes(), (folder / SIGNATURE).read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {folder}: {error}") from None
    for path in trusted_keys:
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} is not a public key in PEM form: {error}") from None
        if not isinstance(key, Ed25519PublicKey):
            raise BundleError(f"{path} is not an Ed25519 key")
        try:
            key.verify(signature, manifest)
        except InvalidSignature:
            continue
        return
    raise BundleError(f"{folder}: no trusted key signed this manifest")


def listing(store: ModelStore, configured: str) -> list[str]:
    """Return one line for the configured and each staged model, the one in use marked."""
    lines = [f"{'*' if not store.active else ' '} {find_bundle(configured).name}  (configuration)"]
    return lines + [f"{'*' if name == store.active else ' '} {name}  (staged)" for name in store.staged()]


def with_active_model(config: Config) -> Config:
    """Return the configuration with the model that the next start will try."""
    store = ModelStore(config.outbox.state_dir, trusted_keys=config.emotion.trusted_keys)
    return replace(config, emotion=replace(config.emotion, model=store.path(config.emotion.model)))
