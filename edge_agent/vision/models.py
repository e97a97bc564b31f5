"""Models that came after the agent: staged, tried, activated, and taken back when they are not what they were or fail.

A bundle is staged only if a trusted key signed it, and if its golden vectors hold on this very computer, in a process
of its own. Its signature stays beside it and is checked at every start, for the state folder is written by more than
the one who signs. What is active is one small file, replaced in one step. Whatever is wrong with either, the agent
starts with the configured model, says so, and sets aside what was wrong. What ships is trusted with the package.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.config import SEGMENT, Config
from edge_agent.errors import BundleError
from edge_agent.vision import runtime
from edge_agent.vision.bundle import Bundle, find_bundle
from edge_agent.vision.manifest import FILE, ClassifierManifest, read_limited
from edge_agent.vision.probe import probe
from edge_agent.vision.signature import FILES, load_keys, load_signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ACTIVE = "active.json"
_MAX_ACTIVE_BYTES = 4096
_SET_ASIDE = ".set-aside"
#: Of the reason in a line that is told; what to do about it comes after.
_MAX_REASON = 150
_ADVICE = "activate a sound model, or go on without: edge-agent model rollback"


class _DamagedError(BundleError):
    """What lies in the state folder is not what was staged there."""


@dataclass(frozen=True, slots=True)
class _Active:
    """What `active.json` says.

    Attributes:
        id: of the staged bundle in use; empty for the configured model.
        previous: what a rollback goes back to.
        confirmed: it has proven itself.
        starts: of the agent since it was activated, until it is confirmed.
        problem: why another one was given up, until somebody activates one or rolls back.
    """

    id: str = ""
    previous: str = ""
    confirmed: bool = True
    starts: int = 0
    problem: str = ""

    @classmethod
    def decode(cls, raw: bytes) -> _Active:
        """Return what the content of the file says.

        Raises:
            ValueError: it is not what was written there.
        """
        stated = json.loads(raw)
        if not isinstance(stated, dict) or not stated.keys() <= {field.name for field in fields(cls)}:
            raise ValueError("not an object of the known fields")
        active = cls(**stated)
        for field in fields(cls):
            # A bool is an int elsewhere.
            if type(getattr(active, field.name)) is not type(field.default):
                raise ValueError(f"{field.name} is not a {type(field.default).__name__}")
        if not all(name == "" or _is_id(name) for name in (active.id, active.previous)):
            raise ValueError("a model's id is not a name of letters, digits, _ . -")
        return active


@dataclass(frozen=True, slots=True)
class Choice:
    """Which model to start with.

    Attributes:
        model: a path, or what the configuration names.
        bundle: the staged one, verified; None for the configured model.
        rolled_back: what was given up at this start: the id of a model, or the name of the file that says which is
            active; empty otherwise.
        problem: why it, or another one at an earlier start, was given up, and what to do; empty otherwise.
    """

    model: str
    bundle: Bundle[ClassifierManifest] | None = None
    rolled_back: str = ""
    problem: str = ""


class ModelStore:
    """The staged models of one device, below `outbox.state_dir`.

    Args:
        trusted_keys: PEM files of Ed25519 public keys.
        runtime: what staged models are tried with.
    """

    def __init__(self, state_dir: Path, *, trusted_keys: Sequence[Path] = (), runtime: runtime.Choice = "auto") -> None:
        self._folder, self._trusted_keys, self._runtime = state_dir / "models", trusted_keys, runtime
        self._chosen = ""

    @classmethod
    def of(cls, config: Config) -> ModelStore:
        """Return the store of a configured device."""
        return cls(
            config.outbox.state_dir, trusted_keys=config.emotion.trusted_keys, runtime=config.performance.runtime
        )

    def staged(self) -> list[str]:
        """Return the ids of the staged models, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if _is_id(path.name) and (path / FILE).is_file())

    @property
    def active(self) -> str:
        """Id of the staged model in use; empty for the configured one.

        Raises:
            BundleError: the file that says so is damaged.
        """
        return self._read_or_advise().id

    @property
    def problem(self) -> str:
        """Why a model was given up, until somebody activates one or rolls back; raises as `active`."""
        return self._read_or_advise().problem

    def stage(self, source: Path) -> str:
        """Verify, try and copy a bundle; return its id. Nothing is switched yet.

        Raises:
            BundleError: it is not signed by a trusted key, altered, too large, crashes the TFLite runtime, or fails its
                golden vectors here.
        """
        keys = load_keys(self._trusted_keys)
        bundle = load_signed(source, keys)
        if not _is_id(bundle.id):
            raise BundleError(f"{source}: the id {bundle.id!r} is not a name of letters, digits, _ . -")
        temporary = self._folder / f".{bundle.id}.staging"
        try:
            _remove(temporary)
            temporary.mkdir(parents=True)
            for name in FILES:
                shutil.copyfile(source / name, temporary / name)
            # What was copied is what will run: verified again and tried in its place.
            load_signed(temporary, keys)
            probe(temporary, runtime=self._runtime)
            target = self._folder / bundle.id
            if target.exists():
                if (target / FILE).read_bytes() != (temporary / FILE).read_bytes():
                    raise BundleError(
                        f"another model {bundle.id!r} is staged already; give the new one an id of its own"
                    )
                return bundle.id
            temporary.rename(target)
            self._hand_over(target, *target.iterdir())
        except OSError as error:
            raise BundleError(f"cannot stage {source}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                _remove(temporary)
        return bundle.id

    def activate(self, model_id: str, *, try_now: bool = True) -> None:
        """Use a staged model from the next start on.

        Args:
            try_now: run its golden vectors, as the next start does in any case.

        Raises:
            BundleError: it is not staged, was altered since, or does not pass its self-test any more.
        """
        if model_id not in self.staged():
            raise BundleError(f"no staged model {model_id!r}; staged: {', '.join(self.staged()) or 'none'}")
        bundle = self._load(model_id, load_keys(self._trusted_keys))
        if try_now:
            probe(bundle.folder, runtime=self._runtime)
        before = self._read_if_sound()
        if before.id == model_id:
            self._write(replace(before, problem=""))
        else:
            self._write(_Active(model_id, previous=before.id, confirmed=False))

    def rollback(self) -> str:
        """Go back to the model before; return its id, empty for the configured one."""
        before = self._read_if_sound()
        # Who rolls back because a model was given up already accepts the one that runs in its place.
        kept = before.id if before.problem else before.previous
        self._write(_Active(kept))
        return kept

    def choose(self, configured: str) -> Choice:
        """Return the model to start with, and note that it is tried.

        A staged model that is not what was staged is given up for the configured one; one that is new and whose last
        start did not come to its confirmation, or that crashes, for the one before.
        """
        rolled_back, bundle = "", None
        try:
            active = self._read()
        except BundleError as error:
            self._set_aside(_ACTIVE)
            rolled_back, active = _ACTIVE, self._given_up(_ACTIVE, error, "", configured)
        while active.id and bundle is None:
            try:
                bundle = self._attempt(active)
            except BundleError as error:
                rolled_back = rolled_back or active.id
                before = "" if isinstance(error, _DamagedError) else active.previous
                active = self._given_up(active.id, error, before, configured)
        self._chosen = active.id
        return Choice(self._path(active, configured), bundle, rolled_back, active.problem)

    def give_up(self, model_id: str, error: BundleError, configured: str) -> Choice:
        """Return the configured model in place of one that `choose` returned and that cannot be used."""
        self._chosen = ""
        return Choice(configured, None, model_id, self._given_up(model_id, error, "", configured).problem)

    def path(self, configured: str) -> str:
        """Return the model the next start will try, and note nothing.

        Raises:
            BundleError: the next start will give it up, for it is not what was staged.
        """
        active = self._read_or_advise()
        if active.id:
            try:
                self._load(active.id, load_keys(self._trusted_keys))
            except BundleError as error:
                raise BundleError(f"{error}; {_ADVICE}") from None
        return self._path(active, configured)

    def confirm(self) -> None:
        """Note that the model `choose` returned has proven itself."""
        active = self._read_if_sound()
        if not active.confirmed and active.id == self._chosen:
            self._note(replace(active, confirmed=True))

    def _attempt(self, active: _Active) -> Bundle[ClassifierManifest]:
        """Return the active model if it may be used; note that an unconfirmed one is tried."""
        if not active.confirmed and active.starts > 0:
            raise BundleError("its last start ended before it had proven itself")
        keys = load_keys(self._trusted_keys)
        try:
            bundle = self._load(active.id, keys)
        except BundleError as error:
            self._set_aside(active.id)
            raise _DamagedError(str(error)) from None
        if not active.confirmed:
            # Before it is tried: a start that leaves no trace could be tried for ever.
            if not self._note(replace(active, starts=active.starts + 1)):
                raise BundleError("the disk takes no note that it is tried")
            probe(bundle.folder, runtime=self._runtime)
        return bundle

    def _load(self, model_id: str, keys: Sequence[Ed25519PublicKey]) -> Bundle[ClassifierManifest]:
        folder = self._folder / model_id
        try:
            for path in (folder, *(folder / name for name in FILES)):
                if path.is_symlink():
                    raise BundleError(f"{path} is a link, not what was staged")
        except OSError as error:
            raise BundleError(f"cannot read {folder}: {error.strerror}") from None
        bundle = load_signed(folder, keys)
        if bundle.id != model_id:
            raise BundleError(f"{folder} holds the model {bundle.id!r}")
        return bundle

    def _given_up(self, what: str, error: BundleError, previous: str, configured: str) -> _Active:
        """Note that something was given up, and why; return what is active now."""
        reason = str(error)
        if len(reason) > _MAX_REASON:
            reason = f"{reason[:_MAX_REASON]}..."
        problem = f"{what} given up, {previous or find_bundle(configured).name} runs: {reason}; {_ADVICE}"
        active = _Active(previous, problem=problem)
        self._note(active)
        return active

    def _set_aside(self, name: str) -> None:
        """Keep the latest damaged file or folder for whoever wants to look, if the disk takes it."""
        damaged, aside = self._folder / name, self._folder / _SET_ASIDE
        with contextlib.suppress(OSError):
            if damaged.is_symlink() or damaged.exists():
                _remove(aside)
                aside.mkdir()
                damaged.rename(aside / name)

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
        path = self._folder / _ACTIVE
        try:
            if not path.is_symlink() and not path.exists():
                return _Active()
            if path.is_symlink() or not path.is_file():
                raise BundleError(f"{path} is no file")
            return _Active.decode(read_limited(path, _MAX_ACTIVE_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, BundleError) else f"{path} is damaged"
            raise BundleError(reason) from None

    def _read_or_advise(self) -> _Active:
        try:
            return self._read()
        except BundleError as error:
            raise BundleError(f"{error}; {_ADVICE}") from None

    def _read_if_sound(self) -> _Active:
        try:
            return self._read()
        except BundleError:
            return _Active()

    def _write(self, active: _Active) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._hand_over(self._folder)
            temporary = self._folder / f".{_ACTIVE}"
            # Made anew: where one lies already, it may lead elsewhere, and root may write here.
            _remove(temporary)
            with temporary.open("x", encoding="utf-8") as file:
                json.dump(asdict(active), file)
                file.flush()
                os.fsync(file.fileno())
            self._hand_over(temporary)
            temporary.replace(self._folder / _ACTIVE)
        except OSError as error:
            raise BundleError(f"cannot write {self._folder}: {error.strerror}") from None

    def _hand_over(self, *paths: Path) -> None:
        """Give what root wrote to the owner of the state folder, who is to change it later."""
        if os.geteuid() == 0:
            owner = self._folder.parent.stat()
            for path in paths:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def listing(store: ModelStore, configured: str) -> list[str]:
    """Return one line for the configured and each staged model, the one in use marked, and one for what is wrong."""
    active = store.active
    lines = [f"{'*' if not active else ' '} {find_bundle(configured).name}  (configuration)"]
    lines += [f"{'*' if name == active else ' '} {name}  (staged)" for name in store.staged()]
    return lines + ([f"! {store.problem}"] if store.problem else [])


def with_active_model(config: Config) -> Config:
    """Return the configuration with the model that the next start will try.

    Raises:
        BundleError: the next start will give it up, for it is not what was staged.
    """
    return replace(config, emotion=replace(config.emotion, model=ModelStore.of(config).path(config.emotion.model)))


def _is_id(name: str) -> bool:
    return bool(re.fullmatch(SEGMENT, name)) and not name.startswith(".")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
