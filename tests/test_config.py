"""Configuration: what is refused, and with which words."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import jobs.config
from pipeline.config import ASSETS, Project, Settings, load, reference
from pipeline.config.project import REMOVED
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"
DOCS = Path(__file__).parent.parent / "docs"

LANGUAGES = "name: a\nbase_model: o/m\ncurate: {languages: %s}\n"
PII = "name: a\nbase_model: o/m\ncurate: {pii: {%s}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "project.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_load(path: Path) -> None:
    assert load(path).name


def test_misspelt_key_names_the_file_the_key_and_the_likely_one(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nbase_model: org/model\ntrain: {learning_rte: 0.1}\n")
    with pytest.raises(
        ConfigError, match=r"project\.yaml: train\.learning_rte: unknown key, did you mean 'learning_rate'"
    ):
        load(path)


@pytest.mark.parametrize("key", sorted(REMOVED - {"batch_tokens"}))
def test_a_setting_that_is_gone_is_told_from_a_misspelt_one(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"project\.yaml: train\.{key}: no longer a setting, delete it"):
        load(write(tmp_path, f"name: a\nbase_model: o/m\ntrain: {{batch_tokens: 8, {key}: 1}}\n"))


def test_misspelt_key_in_a_list_is_explained_too(tmp_path: Path) -> None:
    text = "name: a\nbase_model: o/m\ncurate: {read: {tables: [{match: '*', columns: {promt: a, response: b}}]}}\n"
    with pytest.raises(ConfigError, match="did you mean 'prompt'"):
        load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a mapping"),
        ("- a\n", "must hold a mapping"),
        ("name: [", "not YAML"),
        ("name: a\n", "base_model: Field required"),
        ("name: a\nbase_model: o/m\nseed: x\n", "seed"),
        ("name: a\nbase_model: o/m\ncurate: {dedup: {threshold: 1.5}}\n", "curate.dedup.threshold"),
        (PII % "patterns: {A_1: ['[a']}", r"patterns\.A_1\.0: .*not a regular expression"),
        (PII % "patterns: {A_1: ['x', 'a*']}", r"patterns\.A_1\.1: .*matches the empty text"),
        (PII % r"patterns: {A_1: ['\b']}", r"patterns\.A_1\.0: .*matches the empty text"),
        (PII % "patterns: {a_1: ['x']}", "patterns.a_1"),
        (PII % "patterns: {A_: ['x']}", "patterns.A_"),
        (PII % "mode: mask", "curate.pii.mode"),
        (PII % "entities: [DATE]", "curate.pii.entities"),
        (PII % "ner: {english: ner-small}", "curate.pii.ner.*'english' is no language code"),
        (LANGUAGES % "[]", "curate.languages: .*at least one language"),
        (LANGUAGES % "[en, english]", r"curate\.languages\.1: .*'english' is no language code: write en, de"),
        (LANGUAGES % "[EN]", r"curate\.languages\.0: .*small letters"),
        (LANGUAGES % "[en-US]", r"curate\.languages\.0: "),
        (LANGUAGES % "en", r"curate\.languages: "),
    ],
)
def test_wrong_files_are_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, text))


def test_norwegian_needs_no_quotes(tmp_path: Path) -> None:
    """YAML reads `no` as false."""
    assert load(write(tmp_path, LANGUAGES % "[en, no]")).curate.languages == ("en", "no")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.yaml")


def test_paths_are_seen_from_the_file_and_hub_names_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nbase_model: ./models/x\nsynthesize: {model: org/model}\n")
    project = load(path)
    assert project.base_model == str(tmp_path / "models/x")
    assert project.synthesize.model == "org/model"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("models/mine", "{config}/models/mine"),  # it lies beside the configuration
        ("org/model", "org/model"),  # it lies in the working folder
        ("models/none", "models/none"),
        ("./models/none", "{config}/models/none"),
        ("../models/none", "{root}/models/none"),
        ("/models/none", "/models/none"),
        ("~/models/none", "{home}/models/none"),
        ("tiny-base", f"{ASSETS}/tiny-base"),  # the project's own, whatever lies beside the configuration
    ],
)
def test_one_rule_for_every_relative_path(
    name: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("config/models/mine", "config/tiny-base", "config/default", "here/org/model", "here/lid.bin"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    beside = "chat_template: default\ntrain: {general: {path: ~/texts}}\ncurate: {language: {model: lid.bin}}\n"
    project = load(write(tmp_path / "config", f"name: a\nbase_model: {name}\n{beside}"))
    folders = {"config": tmp_path / "config", "root": tmp_path, "home": tmp_path / "home"}
    assert project.base_model == found.format(**folders)
    assert project.chat_template == "default"
    assert project.train.general is not None
    assert project.train.general.path == str(tmp_path / "home/texts")
    assert project.curate.language.model == str(tmp_path / "config/lid.bin")
    assert load(write(tmp_path / "config", "name: a\nbase_model: x\nchat_template: t.jinja\n")).chat_template == str(
        tmp_path / "config/t.jinja"
    )


def test_personal_data_settings_are_read(tmp_path: Path) -> None:
    text = PII % r"patterns: {CUSTOMER_ID: ['\bKD-\d{6}\b']}, mode: hash, key: secret/key, ner: {en: ./ner}"
    settings = load(write(tmp_path, text)).curate.pii
    assert settings.patterns == {"CUSTOMER_ID": (r"\bKD-\d{6}\b",)}
    assert settings.key == str(tmp_path / "secret/key")
    assert settings.ner == {"en": str(tmp_path / "ner")}


def sections(section: type[Settings], path: str = "") -> Iterator[tuple[str, type[Settings]]]:
    """Yields a section and all below it, with their dotted names, whether in a list, optional or plain."""
    yield path, section
    for name, field in section.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Settings):
                yield from sections(kind, f"{path}.{name}".lstrip("."))


def test_every_setting_and_every_section_says_what_it_is() -> None:
    every = dict(sections(Project))
    assert {"curate.read.tables.columns", "train.general", "serve.url"} <= every.keys()
    silent = [path for path, section in every.items() if not section.__doc__]
    silent += [
        f"{path}.{name}"
        for path, section in every.items()
        for name, field in section.model_fields.items()
        if not field.description and f"{path}.{name}".lstrip(".") not in every
    ]
    assert not silent


def test_the_page_of_settings_is_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["config"])
    jobs.config.main()
    hint = "run `python -m jobs.config > docs/config.md`"
    assert capsys.readouterr().out == (DOCS / "config.md").read_text(encoding="utf-8"), hint


@pytest.mark.parametrize("path", [path for path, _ in sections(Project)])
def test_the_reference_has_every_section_with_all_its_settings(path: str) -> None:
    every = dict(sections(Project))
    page = f"\n\n## \n{reference.markdown()}".split(f"\n## {path}\n")
    assert len(page) == 2
    told = re.findall(r"^\| `(\w+)` \|", page[1].split("\n## ")[0], re.MULTILINE)
    below = [name.rpartition(".")[2] for name in every if name and name.rpartition(".")[0] == path]
    assert {*told, *below} == set(every[path].model_fields)


@pytest.mark.parametrize(
    "row",
    [
        "| `tables` | list of [sections](#curatereadtables) | `[]` |",
        "| `columns` | [section](#curatereadtablescolumns) or `null` | `null` |",
        "| `general` | [section](#traingeneral) or `null` | `null` |",
        '| `ner` | mapping of language codes to model names or paths | `{"en": "ner-small", "de": "ner-small"}` |',
        "| `patterns` | mapping of type names to lists of regular expressions | `{}` |",
        "| `model` | model name or path | `toxicity-small` |",  # neither this machine's path nor quotes
        "| `targets` | `qv`, `all-linear` or list of texts | `all-linear` |",
        "| `port` | integer from 1 to 65535 | `8000` |",
        "| `share` | number > 0 and < 1 | `0.1` |",
        "| `key_file` | path or `null` | `null` |",
    ],
)
def test_the_reference_tells_values_in_words(row: str) -> None:
    assert f"\n{row}" in reference.markdown()


def test_importing_the_pipeline_imports_no_torch() -> None:
    code = (
        "import sys, pipeline, pipeline.config, pipeline.run, pipeline.schema, pipeline.batch, "
        "pipeline.curation.curate, pipeline.synthesis.synthesize, pipeline.evaluate.evaluate, pipeline.report, "
        "jobs, jobs.curate, jobs.train\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
