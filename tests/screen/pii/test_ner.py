"""Names that an NER model finds: as the stock engine with the same model, in batches, of the configured types alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import batch
from pipeline.config import Pii
from pipeline.errors import MissingModelError
from pipeline.screen.pii import ner
from pipeline.screen.pii.scrub import Scrubber, engine
from pipeline.screen.pii.spans import Finding

TEXTS = [
    "Maria Lopez moved to Berlin, maria@example.com",
    "Acme Corp wrote to Maria Lopez. She lives in Berlin.",
    "Nothing to see here.",
    "",
    "Call +49 171 3920012 or ask Tom Brown at Acme Corp",
] * 5
ALL = ("PERSON", "LOCATION", "ORGANIZATION")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pipeline as spaCy's packages have it: embedding, tagger, sentence boundaries, a listening `ner`."""
    import spacy
    from spacy.training import Example

    spacy.util.fix_random_seed(0)
    listener = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 16,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": 32},
    }
    embed = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "width": 32,
        "depth": 2,
        "embed_size": 200,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
        "pretrained_vectors": None,
    }
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": embed})
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("tagger")
    nlp.add_pipe("ner", config={"model": listener})
    names = {"Maria Lopez": "PERSON", "Tom Brown": "PERSON", "Berlin": "GPE", "Acme Corp": "ORG"}
    examples = []
    for text in filter(None, TEXTS[:5]):
        spans = [
            (text.index(name), text.index(name) + len(name), label) for name, label in names.items() if name in text
        ]
        doc = nlp.make_doc(text)
        tags = ["NN"] * len(doc)
        examples.append(Example.from_dict(doc, {"entities": spans, "tags": tags}))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(150):
        nlp.update(examples, sgd=optimizer)
    folder = tmp_path_factory.mktemp("ner") / "model"
    nlp.to_disk(folder)
    return str(folder)


def stock(settings: Pii, texts: list[str]) -> list[set[Finding]]:
    analyzer = engine(settings, "en")
    results = (analyzer.analyze(text, "en", score_threshold=settings.score_threshold) for text in texts)
    return [{Finding(r.start, r.end, r.entity_type, r.score) for r in found} for found in results]


@pytest.mark.parametrize("entities", [("PERSON",), ALL])
def test_a_spacy_model_finds_what_it_finds_in_the_stock_engine(trained: str, entities: Any) -> None:
    settings = Pii(ner={"en": trained}, entities=entities)
    found = Scrubber(settings, ("en", "de")).find_all(TEXTS, ["en"] * len(TEXTS))
    assert [set(found.get(at, [])) for at in range(len(TEXTS))] == stock(settings, TEXTS)
    types = {finding.type for findings in found.values() for finding in findings}
    assert types == {"EMAIL_ADDRESS", "PHONE_NUMBER", *entities}


def test_only_what_entities_depend_on_runs(trained: str) -> None:
    import spacy

    nlp = spacy.load(trained)
    assert ner._components(nlp) == ["tok2vec", "sentencizer", "ner"]  # an entity does not cross a sentence's end
    nlp.add_pipe("entity_ruler")
    assert ner._components(nlp) == nlp.pipe_names  # it may read what any other component writes


def test_people_that_a_model_finds_are_scrubbed_in_its_language_and_places_are_not(trained: str) -> None:
    scrubber = Scrubber(Pii(ner={"en": trained}), ("en", "de"))
    assert scrubber.scrub(TEXTS[0], "en")[0] == "<PERSON> moved to Berlin, <EMAIL_ADDRESS>"
    assert scrubber.scrub(TEXTS[0], "xx")[0] == "<PERSON> moved to Berlin, <EMAIL_ADDRESS>"  # the project's first
    assert scrubber.scrub(TEXTS[0], "de")[0] == "Maria Lopez moved to Berlin, <EMAIL_ADDRESS>"


def test_batches_are_cut_by_their_text() -> None:
    assert list(batch.slices([2, 1, 6, 1, 0], 3)) == [slice(0, 2), slice(2, 3), slice(3, 5)]
    assert list(batch.slices([], 3)) == []


def test_a_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="python -m spacy download xx_not_there"):
        Scrubber(Pii(ner={"en": "xx_not_there"}), ("en",))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingModelError, match="hf download"):
        Scrubber(Pii(ner={"en": str(tmp_path)}), ("en",))


@pytest.fixture(scope="module")
def random_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A token-classification model of no sense, with the labels of CoNLL."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    words = sorted({word for text in TEXTS for word in text.replace(",", " ,").replace(".", " .").split()})
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    torch.manual_seed(0)
    labels = dict(enumerate(("O", "B-PER", "I-PER", "B-LOC", "B-MISC", "B-OTHER")))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=1.0,
        id2label=labels,
        label2id={label: at for at, label in labels.items()},
    )
    folder = tmp_path_factory.mktemp("bert")
    BertForTokenClassification(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def test_a_transformers_model_finds_what_it_finds_in_the_stock_engine(random_bert: str) -> None:
    assert ner.needs_torch(random_bert)
    settings = Pii(ner={"en": random_bert}, entities=("PERSON", "LOCATION"), score_threshold=0.3)
    texts = [*TEXTS, " ".join(TEXTS) * 2]  # the last is cut into chunks that overlap
    found = Scrubber(settings, ("en",)).find_all(texts, ["en"] * len(texts))

    def rounded(findings: Any) -> set[tuple[int, int, str, float]]:
        kinds = {"PERSON", "LOCATION", "EMAIL_ADDRESS", "PHONE_NUMBER"}
        return {(f.start, f.end, f.type, round(f.score, 4)) for f in findings if f.type in kinds}

    ours = [rounded(found.get(at, [])) for at in range(len(texts))]
    assert ours == [rounded(findings) for findings in stock(settings, texts)]
    types = {finding.type for findings in found.values() for finding in findings}
    assert {"PERSON", "LOCATION"} <= types <= {"PERSON", "LOCATION", "EMAIL_ADDRESS", "PHONE_NUMBER"}
