"""The stage `evaluate`: base and tuned on the same rows, with every metric, and nothing left out silently."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console

from pipeline import batch, schema
from pipeline.config import Project
from pipeline.errors import ConfigError, InputError, MissingModelError
from pipeline.evaluate import bertscore, harness, heldout
from pipeline.evaluate import evaluate as golden
from pipeline.evaluate.bertscore import Encoder
from pipeline.evaluate.perplexity import score_all
from pipeline.models import load, memory
from pipeline.run import Run
from tests.export.test_merge import trained
from tests.small_model import make_rows

SETTINGS = {"rows": 6, "samples": 2, "max_new_tokens": 5, "bootstrap": 50}


@pytest.fixture(scope="module")
def base(tiny: Path) -> Path:
    return tiny


def make(base: Path, **evaluate: Any) -> Project:
    sections = {"train": {"max_length": 128, "lora": {"r": 4, "alpha": 8}}, "evaluate": {**SETTINGS, **evaluate}}
    return Project.model_validate({"name": "p", "base_model": str(base), "seed": 3, **sections})


@pytest.fixture
def run(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(batch, "stream", lambda work: work())
    made = Run.open(str(tmp_path / "run"))
    rows = make_rows("golden", 10)
    for number, row in enumerate(rows):
        row |= {"label": "card" if number % 3 else None, "lang": "de" if number % 2 else "en"}
    rows[0] |= {"kind": "document"}
    rows[1] |= {"response": "yes"}
    rows[2] |= {"response": "no"}
    stage = made.begin("curate", "key")
    made.put(stage, "data/golden/00000.parquet", pa.Table.from_pylist(rows, schema=schema.RECORD))
    made.commit(stage, {}, {})
    return trained(made, make(base))


def evaluate(base: Path, run: Run, **settings: Any) -> dict[str, Any]:
    return golden.evaluate(make(base, **settings), run, Console(quiet=True))


def test_scores_intervals_and_groups(base: Path, run: Run) -> None:
    found = evaluate(base, run)
    assert found["rows"] == 10
    assert found["generated"] == 6
    assert set(found["base"]) == set(found["intervals"]) == {
        "perplexity", "bits_per_byte", "rouge_l", "bleu", "chrf", "exact_match",
    }  # fmt: skip
    assert found["base"]["perplexity"] != found["tuned"]["perplexity"]
    for name, value in found["tuned"].items():
        low, high = found["intervals"][name]["tuned"]
        assert low <= value <= high or math.isclose(low, high), name
    assert {group: found["groups"]["lang"][group]["rows"] for group in ("de", "en")} == {"de": 5, "en": 5}
    assert found["groups"]["label"]["card"]["rows"] == 6
    assert found["skipped"] == {"bertscore": "name an encoder as evaluate.bertscore"}
    assert found["forgetting"] is None
    assert len(found["samples"]) == 2
    assert evaluate(base, run) == run.read_json(golden.METRICS)


def test_perplexity_is_that_of_each_row_alone(base: Path, run: Run) -> None:
    found = evaluate(base, run)
    project = make(base)
    whole, tokenizer = load.Base.of(project).load()
    tuned = load.attach(whole, run.local(load.ADAPTER))
    nats = tokens = letters = 0.0
    for row in heldout.encode(project, tokenizer, heldout.golden_rows(project, run)).examples:
        ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        with torch.inference_mode():
            loss = float(tuned(input_ids=ids, labels=labels).loss)
        count = sum(label != -100 for label in row.labels[1:])
        nats, tokens = nats + loss * count, tokens + count
        supervised = [label for label in row.labels if label != -100]
        letters += len(tokenizer.decode(supervised[:-1]).encode())  # the last is the stop token
    assert found["tuned"]["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found["tuned"]["bits_per_byte"] == pytest.approx(nats / math.log(2) / letters, rel=1e-4)


def test_a_base_that_does_not_fit_is_held_as_in_training(base: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(base, run)
    monkeypatch.setattr(memory, "fits", lambda *_: False)
    run.delete("stages/evaluate")
    found = evaluate(base, run)
    assert (whole["held"], found["held"]) == ("whole", "nf4")
    assert found["base"]["perplexity"] != whole["base"]["perplexity"]
    assert found["base"]["perplexity"] == pytest.approx(whole["base"]["perplexity"], rel=0.2)


def test_order_of_the_file_changes_nothing(base: Path, run: Run) -> None:
    project = make(base)
    rows = heldout.golden_rows(project, run)
    assert [row["kind"] for row in rows] == ["qa"] * 9 + ["document"]
    stage = run.begin("curate", "key")
    turned = pa.Table.from_pylist(rows[::-1], schema=schema.RECORD)
    run.put(stage, "data/golden/00000.parquet", turned)
    run.commit(stage, {}, {})
    assert heldout.golden_rows(project, run) == rows
    assert heldout.golden_rows(project.model_copy(update={"seed": 4}), run) != rows


def test_forgetting_is_measured_on_general_text(base: Path, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "general"
    place.mkdir()
    (place / "a.md").write_text("card account transfer fee refund limit app login " * 200)
    (place / "b.jsonl").write_text('{"text": "password code bank branch"}\n{"text": "bank code"}\n')
    found = evaluate(base, run, general=str(place), general_rows=4)["forgetting"]
    assert found["pieces"] == 4
    assert found["interval"][0] <= found["change"] <= found["interval"][1]
    assert found["flagged"] == (found["change"] > 0.1)
    assert found["change"] == pytest.approx(found["tuned"] / found["base"] - 1)
    (place / "c.csv").write_text("x")  # is not read
    with pytest.raises(InputError, match=r"no text at"):
        evaluate(base, run, general=str(tmp_path / "none"))
    for content, match in (('{"text": "x"}\n{"body": "x"}\n', "no column `text` in row 2"), ('{"te', "cannot be read")):
        (place / "b.jsonl").write_text(content)
        with pytest.raises(InputError, match=match):
            evaluate(base, run, general=str(place))


def make_encoder(base: Path, run: Run, **settings: Any) -> Path:
    """Writes a random BERT of two layers with the base's tokenizer; returns the folder."""
    from transformers import BertConfig, BertModel

    place = run.local("encoder")
    tokenizer = load.Base.of(make(base), str(base)).tokenizer()
    tokenizer.save_pretrained(place)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape, **settings)).save_pretrained(place)
    return place


def test_an_encoder_gives_bertscore_and_a_missing_one_a_sentence(base: Path, run: Run) -> None:
    place = make_encoder(base, run)
    found = evaluate(base, run, bertscore=str(place), bertscore_layer=1)
    assert 0 < found["tuned"]["bertscore"] <= 1
    assert (found["skipped"], found["notes"]) == ({}, {})
    gone = evaluate(base, run, bertscore=str(run.local("nowhere")))
    assert "bertscore" not in gone["tuned"]
    assert "no model folder" in gone["skipped"]["bertscore"]

    encoder = Encoder(str(place), None, "cpu")
    same = encoder.counts(["card account fée", ""], ["card account fe\u0301e", "x"])
    assert same.tolist() == [[pytest.approx(1.0, abs=1e-5), 1.0], [0.0, 1.0]]
    left, right = encoder._vectors(["card fee limit"])[0], encoder._vectors(["bank branch"])[0]
    cosines = np.array([[float(a @ b) for b in left] for a in right])
    precision, recall = cosines.max(1).mean(), cosines.max(0).mean()
    wanted = 2 * precision * recall / (precision + recall)
    assert encoder.counts(["card fee limit"], ["bank branch"])[0, 0] == pytest.approx(wanted, abs=1e-5)


def test_texts_that_the_encoder_cuts_are_told(base: Path, run: Run) -> None:
    place = make_encoder(base, run, max_position_embeddings=8)
    said = io.StringIO()
    found = golden.evaluate(make(base, bertscore=str(place), samples=6), run, Console(file=said, width=200))
    tokenizer = load.Base.of(make(base), str(base)).tokenizer()
    texts = [sample[name] for sample in found["samples"] for name in ("reference", "base", "tuned")]
    long = sum(len(tokenizer(text).input_ids) > 8 for text in texts)
    assert 0 < long < 18
    note = found["notes"]["bertscore"]
    assert note == f"{long} of 18 texts are compared up to the encoder's 8 tokens"
    assert f"BERTScore F1: {note}" in said.getvalue()


def test_an_encoder_and_its_layer_are_checked_before_the_work(
    base: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_encoder(base, run)
    bertscore.check(None, 9)
    for layer in (None, 0, 2):
        bertscore.check(str(place), layer)
    with pytest.raises(ConfigError, match=r"evaluate\.bertscore_layer: .* has 2 layers, no layer 3"):
        bertscore.check(str(place), 3)
    with pytest.raises(MissingModelError, match="no model folder"):
        bertscore.check(str(tmp_path / "none"), 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingModelError, match=r"config\.json is missing"):
        bertscore.check(str(tmp_path / "empty"), 1)
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "t5", "num_layers": 2}')
    with pytest.raises(ConfigError, match="an encoder with a decoder"):
        bertscore.check(str(tmp_path / "empty"), 1)
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "nobody knows"}')
    with pytest.raises(ConfigError, match="no encoder that transformers knows"):
        bertscore.check(str(tmp_path / "empty"), 1)
    monkeypatch.setattr(load.Base, "load", None)  # nothing is loaded for a layer that is not there
    with pytest.raises(ConfigError, match="no layer 3"):
        evaluate(base, run, bertscore=str(place), bertscore_layer=3)


def test_an_encoder_of_robertas_kin_is_given_no_more_than_it_has_positions_for(base: Path, run: Run) -> None:
    from transformers import RobertaConfig, RobertaModel

    place = make_encoder(base, run)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    RobertaModel(RobertaConfig(vocab_size=500, max_position_embeddings=12, **shape)).save_pretrained(place)
    encoder = Encoder(str(place), None, "cpu")
    assert encoder.longest == 10
    assert encoder.counts(["card fee " * 50], ["card fee " * 60])[0, 0] == pytest.approx(1.0, abs=1e-5)


def test_tasks_of_the_harness_are_skipped_in_words_where_it_is_missing(
    base: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "installed", lambda: False)
    found = evaluate(base, run, lm_eval=["arc_easy"])
    assert "solotune[harness]" in found["skipped"]["harness"]
    assert found["harness"] == {}


def test_a_run_of_documents_alone_has_losses_and_no_answers(base: Path, run: Run) -> None:
    stage = run.begin("curate", "key")
    pages = [{**row, "kind": "document"} for row in make_rows("golden", 3)]
    run.put(stage, "data/golden/00000.parquet", pa.Table.from_pylist(pages, schema=schema.RECORD))
    run.commit(stage, {}, {})
    found = evaluate(base, run)
    assert set(found["base"]) == {"perplexity", "bits_per_byte"}
    assert found["samples"] == []


def test_rows_without_a_supervised_token_count_nothing(base: Path, run: Run) -> None:
    from pipeline.models.template import Encoded

    project = make(base)
    causal, tokenizer = load.Base.of(project, str(base)).load()
    rows = [Encoded([7, 8, 9], [-100, -100, 9], False), Encoded([7, 8], [-100, -100], True)]
    scored = score_all(causal, rows, tokenizer.pad_token_id)
    assert [len(row.losses) for row in scored] == [1, 0]
