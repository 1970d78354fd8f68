"""Text metrics of any script, held against rouge-score and sacrebleu themselves."""

from __future__ import annotations

import random
import unicodedata

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from pipeline.evaluate.text_metrics import Sacre, exact_counts, ratio, rouge_l_counts, similarity, words

PAIRS = [  # language, reference, prediction
    (
        "en",
        "Your card was blocked, and a new one is on its way.",
        "Your card is blocked and the new one is on its way.",
    ),
    ("de", "Bitte öffnen Sie die App und wählen Sie Karten.", "Öffnen Sie die App."),
    ("en", "refund", "Refund."),
    (None, "no", "yes"),
    ("zh", "您的信用卡已被冻结，新卡将在五个工作日内寄出。", "您的信用卡已冻结，新卡五个工作日内寄到。"),
    ("ja", "カードを止めました。新しいカードは5日で届きます。", "カードは止まりました。新しいカードは5日で届く。"),
    ("th", "บัตรของคุณถูกระงับแล้ว", "บัตรถูกระงับแล้ว"),
    ("hi", "आपका कार्ड बंद कर दिया गया है। नया कार्ड पाँच दिन में आएगा।", "कार्ड बंद है। नया कार्ड पाँच दिन में आएगा।"),
    ("ta", "உங்கள் அட்டை முடக்கப்பட்டது. புதிய அட்டை வரும்.", "அட்டை முடக்கப்பட்டது. புதிய அட்டை வந்தது."),
    ("ko", "카드가 정지되었습니다. 새 카드는 5일 후에 도착합니다.", "카드가 정지되었습니다. 새 카드는 곧 도착합니다."),
]
LANGS, REFERENCES, PREDICTIONS = ([pair[place] for pair in PAIRS] for place in range(3))
TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char", "hi": "intl", "ta": "intl", "ko": "intl"}


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Überweisung: 20 Euro!", ["überweisung", "20", "euro"]),
        ("आपका शुल्क क्या है?", ["आपका", "शुल्क", "क्या", "है"]),
        ("அட்டை எங்கே?", ["அட்டை", "எங்கே"]),
        ("信用卡丢失，ABC 12", ["信", "用", "卡", "丢", "失", "abc", "12"]),
        ("บัตรหาย", ["บั", "ต", "ร", "ห", "า", "ย"]),
        ("カードを", ["カ", "ー", "ド", "を"]),
        ("카드를 분실", ["카드를", "분실"]),
        ("20€, US$ 5 or ₹ 3 (4 %)", ["20", "€", "us", "$", "5", "or", "₹", "3", "4", "%"]),
        ("... !", []),
    ],
)  # fmt: skip
def test_words_of_every_script_are_whole(text: str, found: list[str]) -> None:
    assert words(text) == found
    assert words(unicodedata.normalize("NFD", text)) == words(text)


@pytest.mark.parametrize("lang", ["en", "zh", "th"])
def test_another_currency_lowers_every_metric(lang: str) -> None:
    right, wrong = "The fee is 20€ a year, paid in May.", "The fee is 20$ a year, paid in May."
    assert rouge_l_counts([right], [wrong])[0, 0] < 1
    assert exact_counts(["20 €"], ["20 $"], 5).tolist() == [[0, 1]]
    for name in ("bleu", "chrf"):
        metric = Sacre(name)
        assert metric.score(metric.counts([right], [wrong], [lang])[0]) < 100
        assert metric.score(metric.counts([right], [right], [lang])[0]) == pytest.approx(100)


# -- ROUGE-L ----------------------------------------------------------------------------------------------------------


class Blanks:
    """Gives rouge-score words that are already cut."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def rouge_score(a: list[str], b: list[str]) -> float:
    return float(RougeScorer(["rougeL"], tokenizer=Blanks()).score(" ".join(a), " ".join(b))["rougeL"].fmeasure)


def test_similarity_is_rouge_scores_own_to_the_last_digit() -> None:
    draw = random.Random(1)
    for _ in range(300):
        a, b = ([draw.choice("abcdefg") for _ in range(draw.randint(0, 90))] for _ in range(2))
        assert similarity(a, b) == rouge_score(a, b)
    assert similarity(["a", "b", "c", "d"], ["a", "x", "c", "d"]) == pytest.approx(0.75)


def test_rouge_counts_add_up_to_the_mean_of_the_pairs() -> None:
    counts = rouge_l_counts(REFERENCES, PREDICTIONS)
    alone = [rouge_score(words(a), words(b)) for a, b in zip(REFERENCES, PREDICTIONS, strict=True)]
    assert counts.tolist() == [[score, 1.0] for score in alone]
    assert ratio(counts.sum(0)) == pytest.approx(sum(alone) / len(alone))
    assert counts[2, 0] == 1.0
    assert all(0 < score < 1 for score in alone[4:])
    assert rouge_l_counts([], []).shape == (0, 2)
    with pytest.raises(ValueError, match="argument"):
        rouge_l_counts(["a"], [])


# -- BLEU and chrF ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", range(len(PAIRS)))
def test_each_row_is_cut_by_the_tokenizer_of_its_language(row: int) -> None:
    lang, reference, prediction = PAIRS[row]
    metric = Sacre("bleu")
    counts = metric.counts([reference], [prediction], [lang])
    whole = sacrebleu.corpus_bleu([prediction], [[reference]], tokenize=TOKENIZERS.get(str(lang), "13a"))
    assert metric.score(counts[0]) == pytest.approx(whole.score)
    assert counts[0].tolist() == [whole.sys_len, whole.ref_len, *whole.counts, *whole.totals]
    chrf = Sacre("chrf")
    alone = chrf.score(chrf.counts([reference], [prediction], [lang])[0])
    assert alone == pytest.approx(sacrebleu.corpus_chrf([prediction], [[reference]]).score)


def test_a_corpus_of_several_languages_is_the_sum_of_its_rows() -> None:
    metric = Sacre("bleu")
    counts = metric.counts(REFERENCES, PREDICTIONS, LANGS)
    cut = [[], []]  # type: list[list[str]]
    for lang, *pair in PAIRS:
        tokenizer = sacrebleu.BLEU(tokenize=TOKENIZERS.get(str(lang), "13a")).tokenizer
        for texts, text in zip(cut, pair, strict=True):
            texts.append(tokenizer(text))
    whole = sacrebleu.corpus_bleu(cut[1], [cut[0]], tokenize="none", force=True)
    assert metric.score(counts.sum(0)) == pytest.approx(whole.score)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_added_up_counts_give_what_sacrebleu_says(name: str) -> None:
    metric = Sacre(name)
    counts = metric.counts(REFERENCES[:4], PREDICTIONS[:4], LANGS[:4])
    assert len(counts) == 4
    for part in (slice(0, 4), slice(0, 2), slice(1, 2)):
        whole = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[name](
            PREDICTIONS[part], [REFERENCES[part]]
        )
        assert metric.score(counts[part].sum(0)) == pytest.approx(whole.score)
    assert 5 < metric.score(counts.sum(0)) < 95


def test_composed_and_decomposed_letters_are_the_same() -> None:
    composed = [unicodedata.normalize("NFC", text) for text in REFERENCES]
    apart = [unicodedata.normalize("NFD", text) for text in REFERENCES]
    assert composed != apart
    assert rouge_l_counts(composed, apart)[:, 0].tolist() == [1.0] * len(PAIRS)
    for name in ("bleu", "chrf"):
        metric = Sacre(name)
        assert metric.score(metric.counts(composed, apart, LANGS).sum(0)) == pytest.approx(100)


# -- exact match ------------------------------------------------------------------------------------------------------


def test_exact_match_asks_short_references_only() -> None:
    counts = exact_counts(REFERENCES[:4], PREDICTIONS[:4], 5)
    assert counts.tolist() == [[0, 0], [0, 0], [1, 1], [0, 1]]
    assert ratio(counts.sum(0)) == 0.5
    assert ratio(counts[:2].sum(0)) == 0.0
    assert exact_counts(["हाँ", "है", "はい", "是"], ["हाँ।", "हो", "はい。", "否"], 5).tolist() == [
        [1, 1], [0, 1], [1, 1], [0, 1],
    ]  # fmt: skip
