"""Public labelled comments that toxicity-small learns from, and those that only measure it.

Every file comes from a public repository at a named commit, and is read only if its SHA-256 is the one stated here.
`training(folder)` yields the texts to learn from; `MEASURED` names the sets of other origin that nothing is learned or
chosen from; `CHOSEN` the two that settings were chosen on. The card has the licences. This module changes no text.
"""

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

Example = tuple[str, bool]

FILES = {  # name in the folder: (repository, commit, path there, SHA-256)
    "paradetox.tsv": (
        "s-nlp/paradetox",
        "d97b17d0813539cf05c74f9cdb5e66372704ca57",
        "paradetox/paradetox.tsv",
        "6e5e80def7deaf4a3410f7de6c638c13f100ce5ece09ee84a47f6f14ab69a0cd",
    ),
    "toxic_spans.csv": (
        "ipavlopoulos/toxic_spans",
        "beaf170538df8275c3447b2e26070f2f82e55272",
        "SemEval2021/data/tsd_train.csv",
        "b538ea2d64ed7c306ff8f010a25a5286bef6ce61d469042482ba64efc1ddd6cd",
    ),
    "wikipedia_gn.csv": (
        "ipavlopoulos/context_toxicity",
        "5df49c294e6a41f0ba351e65fda7c315aa4cc168",
        "data/CAT_LARGE/gn.csv",
        "def84ddcff46dfd628e3d37c9c81b9cb81d7cf35e82197212a5758c0d24fb667",
    ),
    "hatemoji.csv": (
        "HannahKirk/Hatemoji",
        "a626f63216158748d072e581efc00267031f4404",
        "HatemojiBuild/train.csv",
        "2255818a5b10153876320068451be582ed876a2eefb22a250bd2f6478d1815e5",
    ),
    "identity_en.csv": (
        "conversationai/unintended-ml-bias-analysis",
        "9c7d91aaa53406a362354661a93e07956d95e59a",
        "sentence_templates/en_sentence_templates.csv",
        "8ed7d07f61000a95a2e18747b8f1fbf43d75257cd342cddef1f3533254374633",
    ),
    "identity_de.csv": (
        "conversationai/unintended-ml-bias-analysis",
        "9c7d91aaa53406a362354661a93e07956d95e59a",
        "sentence_templates/de_sentence_templates.csv",
        "aeeb09e2c692cf0b03c05be95d54dfee14f997178381d894071f0826fdc45674",
    ),
    "germeval2018_train.txt": (
        "uds-lsv/GermEval-2018-Data",
        "9877472d39523effd54cd079b4c61157ed141508",
        "germeval2018.training.txt",
        "0f88c63a344e1ab69c5407aa539d1612cd82a96b51ebd6bd613dc70ff9fef03e",
    ),
    "germeval2018_test.txt": (
        "uds-lsv/GermEval-2018-Data",
        "9877472d39523effd54cd079b4c61157ed141508",
        "germeval2018.test.txt",
        "45f31510b305d080a933d4087b8d34f7a5e4087141718955b90357ca730074f2",
    ),
    "gahd.csv": (
        "jagol/gahd",
        "2a4e919d5208d99a885824c63583d898d02ca1a1",
        "gahd.csv",
        "a1ba022786b198f0d2145c0ee8cbe4d65a1d3aadb81105ac55684b79d3ed650b",
    ),
    "convabuse.csv": (
        "amandacurry/convabuse",
        "c0a9469f48956e868276c605d499010ea3c7c0d0",
        "2_splits/ConvAbuseEMNLPtrain.csv",
        "23abab3eff791d0e8cac681cec15a5ef299ed052699e4fca762d1d4640c36936",
    ),
    "surge_toxicity.csv": (
        "surge-ai/toxicity",
        "ea80324b95ed7e3cc787bdb6faeb763fcc0ae258",
        "toxicity_en.csv",
        "3bfcdd54ab90c8bab232235226a00e28b0d457c3c19e87230f73dde1880e6c44",
    ),
    "germeval2021_train.csv": (
        "germeval2021toxic/SharedTask",
        "fa5dca397aed0556703dd9550ac7380b9e6c3297",
        "Data Sets/GermEval21_TrainData.csv",
        "4ffb1f9a499193d499192c8614add7ccef7ff02b835c256925bc319ba16358e3",
    ),
    "germeval2021_test.csv": (
        "germeval2021toxic/SharedTask",
        "fa5dca397aed0556703dd9550ac7380b9e6c3297",
        "Data Sets/GermEval21_TestData.csv",
        "3831535f1bdd95ad61929976a267fe274c15e7486aad564279ebd5de9e4df89f",
    ),
}


@dataclass
class Public:
    """Texts to learn from. Each list is drawn from anew in every epoch."""

    toxic: dict[str, list[str]] = field(default_factory=lambda: {"en": [], "de": []})
    clean: dict[str, list[str]] = field(default_factory=lambda: {"en": [], "de": []})
    identity: dict[str, list[Example]] = field(default_factory=lambda: {"en": [], "de": []})


def training(folder: Path) -> Public:
    """Everything to learn from. Raises ValueError for a file that is not the stated one."""
    public = Public()
    for row in _rows(folder, "paradetox.tsv", delimiter="\t"):
        public.toxic["en"].append(row["toxic"])
        public.clean["en"] += [row[name] for name in ("neutral1", "neutral2") if row[name]]
    public.toxic["en"] += [row["text"] for row in _rows(folder, "toxic_spans.csv") if row["spans"] != "[]"]
    public.clean["en"] += [row["text"] for row in _rows(folder, "wikipedia_gn.csv") if row["label"] == "0"]
    for name, column, toxic, lang in (("hatemoji.csv", "label_gold", "1", "en"), ("gahd.csv", "label", "1", "de")):
        for row in _rows(folder, name):
            (public.toxic if row[column] == toxic else public.clean)[lang].append(row["text"])
    for text, toxic in germeval2018(folder, "germeval2018_train.txt"):
        (public.toxic if toxic else public.clean)["de"].append(text)
    for lang in ("en", "de"):
        rows = _rows(folder, f"identity_{lang}.csv")
        public.identity[lang] = [(row["phrase"], row["toxicity"] == "toxic") for row in rows]
    return public


def sample(public: Public, lang: str, rows: int, identity: int, rng: Random) -> list[Example]:
    """Up to `rows` texts of each label and `identity` phrases that praise or insult a group, of one language."""
    examples = rng.sample(public.identity[lang], identity)
    for texts, label in ((public.toxic[lang], True), (public.clean[lang], False)):
        examples += [(text, label) for text in rng.sample(texts, min(rows, len(texts)))]
    return examples


def germeval2018(folder: Path, name: str) -> list[Example]:
    """Tweets; offence of any kind is toxic."""
    lines = (line.split("\t") for line in _checked(folder, name).read_text(encoding="utf-8").splitlines())
    return [(text.replace("|LBR|", "\n"), label != "OTHER") for text, label, _ in lines]


def germeval2021(folder: Path) -> list[Example]:
    """Comments on a television show's page, both files of the task."""
    rows = _rows(folder, "germeval2021_train.csv") + _rows(folder, "germeval2021_test.csv")
    return [(row["comment_text"], row["Sub1_Toxic"] == "1") for row in rows]


def surge(folder: Path) -> list[Example]:
    """Comments of several platforms."""
    return [(row["text"], row["is_toxic"] == "Toxic") for row in _rows(folder, "surge_toxicity.csv")]


def convabuse(folder: Path) -> list[Example]:
    """What people wrote to chat bots; -1 or less on the annotators' scale from 1 to -3 is toxic, 0 or so left out."""
    examples: list[Example] = []
    for row in _rows(folder, "convabuse.csv"):
        marks = [int(name.rsplit(".", 1)[1]) for name in row if "_is_abuse." in name and row[name] in ("1", "1.0")]
        mean = sum(marks) / len(marks) if marks else 0.0
        if mean <= -1 or mean >= 0.5:
            examples.append((row["user"], mean <= -1))
    return examples


CHOSEN: dict[str, Callable[[Path], list[Example]]] = {
    "ConvAbuse, English": convabuse,
    "GermEval 2018 test, German": lambda folder: germeval2018(folder, "germeval2018_test.txt"),
}
MEASURED: dict[str, Callable[[Path], list[Example]]] = {
    "Surge AI toxicity, English": surge,
    "GermEval 2021, German": germeval2021,
}


def _checked(folder: Path, name: str) -> Path:
    repository, commit, path, digest = FILES[name]
    if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
        raise ValueError(f"{folder / name} is not {path} of github.com/{repository} at {commit}")
    return folder / name


def _rows(folder: Path, name: str, delimiter: str = ",") -> list[dict[str, str]]:
    csv.field_size_limit(1 << 30)
    with _checked(folder, name).open(encoding="utf-8-sig", newline="") as file:
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        return list(csv.DictReader(file, delimiter=delimiter, quoting=quoting))
