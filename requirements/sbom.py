"""Writes what a kiosk and a pager's server are made of, as CycloneDX: `python -m requirements.sbom FOLDER`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edge_agent import __version__
from requirements.licences import licence
from requirements.lockfile import FOLDER, read

REPOSITORY = FOLDER.parent
MODELS = REPOSITORY / "edge_agent" / "models"
ROLES = ("kiosk", "pager")


def bill(role: str) -> dict:
    """Return the bill of materials of a role: what its lock file and build.txt pin on this Python, and the models."""
    texts = {name: (FOLDER / f"{name}.txt").read_text() for name in ("build", role)}
    made = subprocess.run(
        [
            sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--spec-version=1.6",
            "--no-validate", f"--pyproject={REPOSITORY / 'pyproject.toml'}", "-",
        ],
        input="\n".join(texts.values()), capture_output=True, text=True, check=True,
    )  # fmt: skip
    bom = json.loads(made.stdout)
    bom["metadata"]["component"]["version"] = __version__
    applies = {pin.name for name in texts for pin in read(name) if pin.applies}
    by_name = {one["name"]: one for one in bom["components"] if one["name"] in applies}
    for name, one in by_name.items():
        del one["description"]  # the line of the lock file, hashes and all
        one |= {"bom-ref": one["purl"], "licenses": [{"expression": licence(name)}]}
    bom["components"] = [*by_name.values(), *(_model(path) for path in sorted(MODELS.glob("*/manifest.json")))]
    refs = sorted(one["bom-ref"] for one in bom["components"])
    root = bom["metadata"]["component"]["bom-ref"]
    bom["dependencies"] = [{"ref": root, "dependsOn": refs}, *({"ref": ref} for ref in refs)]
    return bom


def _model(manifest: Path) -> dict:
    stated = json.loads(manifest.read_text())
    return {
        "type": "machine-learning-model",
        "bom-ref": stated["id"],
        "name": stated["id"],
        "hashes": [{"alg": "SHA-256", "content": stated["sha256"]}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],  # see NOTICE
    }


def main(folder: Path) -> int:
    """Write `<role>.cdx.json` for each role, valid by the schema of CycloneDX 1.6."""
    folder.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        text = json.dumps(bom := bill(role), indent=1) + "\n"
        if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
            print(f"sbom: {role}: {error}", file=sys.stderr)
            return 1
        path = folder / f"{role}.cdx.json"
        path.write_text(text)
        print(f"{path}: {len(bom['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
