"""The wheel, installed outside the checkout: default settings find the bundled models, every data file is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "serve_app", "jobs")
BUILT_FROM = (*PACKAGES, "assets", "pyproject.toml", "README.md", "LICENSE")
DUMP = """\
Ticket ID,Subject,Description,Agent response,Status,Created time,Resolved time
1,My address,"I moved last month. How do I change the address on my account?",It is in your profile.,Closed,,
2,Karte gesperrt,"Mein Name ist Anna Schmidt, meine Karte ist gesperrt. Was nun?",Rufen Sie die Hotline an.,Closed,,
"""
CODE = """
import json
import pyarrow as pa
from pipeline import __file__, read, screen
from pipeline.config import load
from pipeline.screen.pii.entities import KnownEntities
from pipeline.screen.toxicity.score import ToxicityStage

project = load("config.yaml")
curate = project.curate
files = read.discover(["dump.csv"], curate.read).files
table = pa.concat_tables(part for file in files for part in read.read(file, curate.read))
for stage in [*screen.build(curate, KnownEntities()), ToxicityStage(curate.toxicity)]:
    table = stage(table)
rows = table.select(["prompt", "lang", "toxicity", "stage"]).to_pylist()
print(json.dumps({"package": __file__, "base": project.base_model, "rows": rows}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder that the wheel is installed into. A copy is built: setuptools writes beside its source."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", source, source], check=True)
    (wheel,) = source.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    return site


def _python(site: Path, folder: Path, *arguments: str) -> str:
    """Returns what Python prints in `folder` with the installed wheel; the checkout is not on its path."""
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_default_settings_read_and_screen_rows_with_the_bundled_models(site: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: mine\nbase_model: tiny-base\n", encoding="utf-8")
    (tmp_path / "dump.csv").write_text(DUMP, encoding="utf-8")
    found = json.loads(_python(site, tmp_path, "-c", CODE).splitlines()[-1])
    assert Path(found["package"]).is_relative_to(site)
    assert Path(found["base"]) == site / "assets" / "tiny-base"
    assert [row["lang"] for row in found["rows"]] == ["en", "de"]
    assert "Anna" not in found["rows"][1]["prompt"]
    assert all(row["stage"] is None and row["toxicity"] < 0.5 for row in found["rows"])


def test_jobs_start_outside_the_checkout(site: Path, tmp_path: Path) -> None:
    assert "--input" in _python(site, tmp_path, "-m", "jobs.curate", "--help")


def test_the_wheel_has_every_data_file_of_its_packages_and_of_assets_only_the_models(site: Path) -> None:
    files = [file.relative_to(ROOT) for name in PACKAGES for file in (ROOT / name).rglob("*") if file.is_file()]
    data = {file for file in files if file.suffix not in (".py", ".pyc", ".sh")}
    assert data
    assert {file for file in data if not (site / file).is_file()} == set()
    assets = list((site / "assets").rglob("*"))
    assert {file.name for file in (site / "assets").iterdir()} == {"ner-small", "tiny-base", "toxicity-small"}
    assert not [file for file in assets if file.suffix in (".py", ".txt", ".csv")]
    assert sum(file.stat().st_size for file in assets if file.is_file()) < 20 << 20  # the models are 18.2 MB


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_python_gets_one_package_that_brings_fasttext(python: str) -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    here = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": python})]
    name = "fasttext-predict-v2" if python == "3.14" else "fasttext-predict"  # the latter has no wheels for 3.14
    assert [pin for pin in here if pin.startswith("fasttext")] == [name]
    assert len(here) == len(set(here))
