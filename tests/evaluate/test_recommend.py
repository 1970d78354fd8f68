"""The smallest model that is good enough is found, and no larger one is measured for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from pipeline import batch, schema
from pipeline.config import Project, Recommend
from pipeline.errors import ConfigError, InputError, MissingModelError
from pipeline.evaluate import evaluate, recommend
from pipeline.models import memory
from pipeline.run import Run
from tests.export.test_merge import trained
from tests.small_model import make_model, make_rows, make_tokenizer

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small model, and a larger one (untied embeddings) that is less wrong: its logits are nearly even."""
    import torch
    from transformers import AutoModelForCausalLM

    place = tmp_path_factory.mktemp("models")
    small, large = make_model(place / "small"), make_model(place / "large", tie=False)
    model = AutoModelForCausalLM.from_pretrained(large)
    with torch.no_grad():
        model.lm_head.weight.mul_(0.01)
    model.save_pretrained(large)
    return small, large


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(batch, "stream", lambda work: work())
    made = Run.open(str(tmp_path / "run"))
    stage = made.begin("curate", "key")
    rows = pa.Table.from_pylist(make_rows("golden", 8), schema=schema.RECORD)
    made.put(stage, "data/golden/00000.parquet", rows)
    made.commit(stage, {}, {})
    return made


def project(candidates: tuple[Path, ...], **settings: Any) -> Project:
    asked = {"candidates": [str(path) for path in candidates], "rows": 6, **settings}
    sections = {"recommend": asked, "train": {"max_length": 128}, "evaluate": {"max_new_tokens": 4}}
    return Project.model_validate({"name": "p", "base_model": str(candidates[0]), **sections})


def values(models: tuple[Path, ...], run: Run, metric: str) -> list[float]:
    found = recommend.recommend(project(models, metric=metric, target=1e-9 if "bits" in metric else 1e9), run, QUIET)
    assert found["chosen"] is None
    assert found["rows"] == 6
    assert "no candidate (2 measured)" in recommend.sentence(found)
    return [one["value"] for one in found["measured"]]


def test_the_smallest_that_reaches_the_share_of_the_target(models: tuple[Path, Path], run: Run) -> None:
    small, large = values(models, run, "bits_per_byte")
    assert large < small
    assert memory.parameters(models[0]) < memory.parameters(models[1])
    between = (small + large) / 2
    for target, chosen, measured in ((between * 0.7, models[1], 2), (small * 0.7001, models[0], 1)):
        asked = project(models[::-1], metric="bits_per_byte", target=target)
        found = recommend.recommend(asked, run, QUIET)
        assert found["chosen"] == str(chosen)
        assert [one["model"] for one in found["measured"]] == [str(path) for path in models][:measured]
        assert run.read_json(recommend.METRICS) == found
        assert chosen.name in recommend.sentence(found)


def test_rouge_counts_upwards(models: tuple[Path, Path], run: Run) -> None:
    assert all(0 <= value <= 1 for value in values(models, run, "rouge_l"))
    settings = Recommend(metric="rouge_l", target=0.5)
    assert recommend.threshold(settings) == pytest.approx(0.35)
    assert [recommend.reaches(value, settings) for value in (0.3499, 0.35, 0.9)] == [False, True, True]
    lower = Recommend(metric="bits_per_byte", target=0.7)
    assert [recommend.reaches(value, lower) for value in (1.01, 0.99)] == [False, True]


def test_a_model_without_a_template_is_asked_with_the_default(models: tuple[Path, Path], run: Run) -> None:
    from pipeline.models.template import DEFAULT

    asked = project(models)
    assert recommend._template(asked, str(models[1])) is None
    make_tokenizer(None).save_pretrained(models[1])
    (models[1] / "chat_template.jinja").unlink(missing_ok=True)
    assert recommend._template(asked, str(models[1])) == DEFAULT
    own = asked.model_copy(update={"chat_template": "/x.jinja"})
    assert recommend._template(own, str(models[0])) == "/x.jinja"


@pytest.mark.parametrize("metric", ["bits_per_byte", "rouge_l"])
def test_a_base_has_the_same_figure_here_and_in_an_evaluation(
    models: tuple[Path, Path], run: Run, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "fits", lambda *_: False)  # both hold it as training does
    rows = make_rows("golden", 8)
    rows[3] |= {"kind": "document"}
    rows[4] |= {"response": "limit fee " * 100, "lang": "de"}  # is cut
    rows[5] |= {"response": "信用卡 </s> 20 €", "lang": "zh"}
    stage = run.begin("curate", "key")
    run.put(stage, "data/golden/00000.parquet", pa.Table.from_pylist(rows, schema=schema.RECORD))
    run.commit(stage, {}, {})
    asked = project(models[:1], metric=metric, target=1e-9 if "bits" in metric else 1e9, rows=50)
    told = recommend.recommend(asked, run, QUIET)["measured"][0]["value"]
    scored = evaluate.evaluate(asked, trained(run, asked), QUIET)
    assert scored["held"] == "nf4"
    assert scored["base"][metric] == told


def test_what_is_missing_is_a_sentence(models: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    for asked in (project(models), project(models).model_copy(update={"recommend": Recommend(target=1.0)})):
        with pytest.raises(ConfigError, match="candidates"):
            recommend.recommend(asked, run, QUIET)
    with pytest.raises(MissingModelError):
        recommend.recommend(project((tmp_path / "none",), target=1.0), run, QUIET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingModelError, match="no safetensors"):
        recommend.recommend(project((tmp_path / "empty",), target=1.0), run, QUIET)
    stage = run.begin("curate", "key")
    pages = [{**row, "kind": "document"} for row in make_rows("golden", 3)]
    run.put(stage, "data/golden/00000.parquet", pa.Table.from_pylist(pages, schema=schema.RECORD))
    run.commit(stage, {}, {})
    with pytest.raises(InputError, match="no golden questions"):
        recommend.recommend(project(models, target=1.0), run, QUIET)
