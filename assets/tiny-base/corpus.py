"""The pretraining text of tiny-base: permissively licensed documents as plain English and German prose.

Output: `read_corpus(data, texts)` gives a list of `Document(source, lang, text)`, in a fixed order, without repeated
paragraphs; `split_heldout` parts 1 % of the documents by a hash of their text. `chat_pairs` gives (question, answer,
lang) triples from the support knowledge base. Not done here: tokenising, and any download; both folders must exist
already (see README.md).
"""

import gzip
import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Document:
    """One document: `source` is a key of SOURCES, `lang` is "en" or "de", `text` has one paragraph a line."""

    source: str
    lang: str
    text: str


@dataclass(frozen=True)
class Source:
    """Where a source's files lie (`root` is "data" or "texts"), how they are read, and their licence."""

    root: str
    pattern: str
    lang: str
    reader: str
    licence: str
    skip: str = r"$^"


_API = r"genindex|_modules|py-modindex|search|/api/|_static|objects"
_DEB = "usr/share/doc"
SOURCES: dict[str, Source] = {
    "support_kb/en": Source("data", "support_kb/en/**/*.md", "en", "markdown", "MIT"),
    "support_kb/de": Source("data", "support_kb/de/**/*.md", "de", "markdown", "MIT"),
    "wiki": Source("data", "wiki/**/*.mdx", "en", "markdown", "Apache-2.0"),
    "rust_book": Source("data", "general/rust_book/**/*.md", "en", "markdown", "MIT"),
    "apache2-doc/en": Source("texts", f"apache2-doc/{_DEB}/**/en/**/*.html", "en", "html", "Apache-2.0"),
    "apache2-doc/de": Source("texts", f"apache2-doc/{_DEB}/**/de/**/*.html", "de", "html", "Apache-2.0"),
    "kicad-doc-de": Source("texts", f"kicad-doc-de/{_DEB}/**/de/*.html", "de", "html", "CC-BY-3.0"),
    "cinder-doc": Source("texts", f"cinder-doc/{_DEB}/**/*.html", "en", "html", "Apache-2.0", _API),
    "cmake-doc": Source("texts", f"cmake-doc/{_DEB}/**/*.html", "en", "html", "BSD-3-Clause", _API),
    "glance-doc": Source("texts", f"glance-doc/{_DEB}/**/*.html", "en", "html", "Apache-2.0", _API),
    "heat-doc": Source("texts", f"heat-doc/{_DEB}/**/*.html", "en", "html", "Apache-2.0", _API),
    "keystone-doc": Source("texts", f"keystone-doc/{_DEB}/**/*.html", "en", "html", "Apache-2.0", _API),
    "neutron-doc": Source("texts", f"neutron-doc/{_DEB}/**/*.html", "en", "html", "Apache-2.0", _API),
    "nova-doc": Source("texts", f"nova-doc/{_DEB}/**/*.html", "en", "html", "Apache-2.0", _API),
    "swift-doc": Source("texts", f"swift-doc/{_DEB}/**/*.html", "en", "html", "Apache-2.0", _API),
    "nodejs-doc": Source("texts", f"nodejs-doc/{_DEB}/**/*.html", "en", "html", "MIT", r"/all\.html"),
    "perl-doc": Source("texts", "perl-doc/usr/share/perl/**/*.pod", "en", "pod", "Artistic-1.0-Perl"),
    "postgresql-doc-15": Source("texts", f"postgresql-doc-15/{_DEB}/**/*.html", "en", "html", "PostgreSQL"),
    "python-django-doc": Source("texts", f"python-django-doc/{_DEB}/**/*.html", "en", "html", "BSD-3-Clause", _API),
    "python-pandas-doc": Source("texts", f"python-pandas-doc/{_DEB}/**/*.html", "en", "html", "BSD-3-Clause", _API),
    "python-sqlalchemy-doc": Source("texts", f"python-sqlalchemy-doc/{_DEB}/**/*.html", "en", "html", "MIT", _API),
    "python3.11-doc": Source("texts", f"python3.11-doc/{_DEB}/**/*.html", "en", "html", "PSF-2.0", _API),
    "rust-doc": Source(
        "texts",
        f"rust-doc/{_DEB}/rust-doc/html/*/*.html",
        "en",
        "html",
        "MIT OR Apache-2.0",
        r"html/(book|alloc|core|std|proc_macro|test|implementors|src)/|print\.html",
    ),
    "sphinx-doc": Source("texts", f"sphinx-doc/{_DEB}/**/*.html", "en", "html", "BSD-2-Clause", _API),
    "sqlite3-doc": Source("texts", f"sqlite3-doc/{_DEB}/**/*.html", "en", "html", "public domain"),
    "twisted-doc": Source("texts", f"twisted-doc/{_DEB}/**/*.html", "en", "html", "MIT", _API),
    "jargon-text": Source("texts", f"jargon-text/{_DEB}/jargon-text/jargon.txt.gz", "en", "plain", "public domain"),
    "dict-devil": Source("texts", "dict-devil/usr/share/dictd/devil.dict.dz", "en", "plain", "public domain"),
    "wordnet-base": Source("texts", "wordnet-base/usr/share/wordnet/data.*", "en", "wordnet", "WordNet-3.0"),
}

_BLOCK = re.compile(
    r"<(p|li|dd|h1|h2|h3|td)\b[^>]*>(.*?)(?=</\1>|<(?:p|li|dd|dt|ul|ol|dl|table|pre|div|h\d)\b)", re.S | re.I
)
_DROP = re.compile(r"<(script|style|nav|pre|head|footer)\b.*?</\1>", re.S | re.I)
_TAG = re.compile(r"<[^>]+>")
_SPACE = re.compile(r"\s+")


def _html_lines(raw: str) -> Iterator[str]:
    for match in _BLOCK.finditer(_DROP.sub(" ", raw)):
        yield html.unescape(_TAG.sub("", match.group(2))).replace("\u00b6", "")


def _markdown_lines(raw: str) -> Iterator[str]:
    raw = re.sub(r"\A---\n.*?\n---\n", "", raw, flags=re.S)
    raw = re.sub(r"```.*?```", "\n\n", raw, flags=re.S)
    raw = re.sub(r"\[!(?:DNL|UICONTROL) ([^\]]*)\]", r"\1", raw.replace("\u200b", ""))
    raw = re.sub(
        r"!?\[([^\[\]]*)\]\([^()]*\)|!?\[([^\[\]]*)\]\[[^\[\]]*\]", lambda m: m.group(1) or m.group(2) or "", raw
    )
    raw = re.sub(r"\{[^{}]*\}|>\[![A-Z]+\]|<[^>]+>|!\[", "", raw)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#>]|\d+\.)\s)", raw):
        yield re.sub(r"^[\s#>*-]+|^\s*\d+\.\s+", "", html.unescape(block)).replace("**", "").replace("`", "")


def _pod_lines(raw: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", raw):
        if not block.startswith((" ", "\t", "=")):
            yield re.sub(r"[A-Z]<+\s?(?:[^<>|]*\|)?([^<>]*?)\s?>+", r"\1", block)


def _wordnet_lines(raw: str) -> Iterator[str]:
    for line in raw.splitlines():
        if "|" in line and not line.startswith("  "):
            head, gloss = line.split("|", 1)
            yield head.split()[4].replace("_", " ").capitalize() + ": " + gloss.strip().rstrip(";") + "."


def _plain_lines(raw: str) -> Iterator[str]:
    yield from re.split(r"\n\s*\n", raw)


_READERS = {
    "html": _html_lines,
    "markdown": _markdown_lines,
    "pod": _pod_lines,
    "wordnet": _wordnet_lines,
    "plain": _plain_lines,
}


def _is_prose(line: str) -> bool:
    """A sentence-like paragraph: at least 30 characters, nearly all letters and spaces, closed by punctuation."""
    letters = sum(c.isalpha() or c in " ,.'" for c in line)
    return len(line) >= 30 and letters >= 0.9 * len(line) and line[-1] in ".:!?\"')" and " " in line


def _load(path: Path) -> str:
    raw = gzip.decompress(path.read_bytes()) if path.suffix in {".gz", ".dz"} else path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read_corpus(data: Path, texts: Path) -> list[Document]:
    """Read every source. `data`: the folder with support_kb, wiki, general; `texts`: the unpacked Debian packages.

    Raises FileNotFoundError when a source has no files, naming it.
    """
    seen: set[bytes] = set()
    documents = []
    for name, source in SOURCES.items():
        root = data if source.root == "data" else texts
        paths = [p for p in sorted(root.glob(source.pattern)) if not re.search(source.skip, str(p)) and p.is_file()]
        if not paths:
            raise FileNotFoundError(f"corpus source {name}: no file matches {root / source.pattern}")
        for path in paths:
            kept = []
            for line in _READERS[source.reader](_load(path)):
                line = _SPACE.sub(" ", line).strip()
                key = hashlib.blake2b(line.lower().encode(), digest_size=12).digest()
                if _is_prose(line) and key not in seen:
                    seen.add(key)
                    kept.append(line)
            # Glossaries are one huge file: cut them into documents so that the held-out split is a sample of them too.
            parts = ("\n".join(kept[start : start + 200]) for start in range(0, len(kept), 200))
            documents += [Document(name, source.lang, part) for part in parts]
    return documents


def split_heldout(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """(train, held-out): about 1 % of the English and 3 % of the (fewer) German documents, chosen by hash."""
    share = {"en": 1, "de": 3}
    held = [int(hashlib.sha256(d.text.encode()).hexdigest(), 16) % 100 < share[d.lang] for d in documents]
    train = [d for d, h in zip(documents, held, strict=True) if not h]
    return train, [d for d, h in zip(documents, held, strict=True) if h]


_SECTION = re.compile(r"^## (.+)$", re.M)
_ISSUE, _SOLUTION = re.compile(r"^(Issue|Problem|Symptom)", re.I), re.compile(r"^(Solution|Lösung|Workaround)", re.I)


def chat_pairs(data: Path) -> list[tuple[str, str, str]]:
    """(question, answer, lang) of knowledge base pages with an issue and a solution: title and issue -> solution."""
    pairs = []
    for lang in ("en", "de"):
        for path in sorted((data / "support_kb" / lang).glob("**/*.md")):
            raw = _load(path)
            title = re.search(r"^# (.+)$", raw, re.M)
            parts = _SECTION.split(raw)
            sections = dict(zip(parts[1::2], parts[2::2], strict=True))
            issue = next((v for k, v in sections.items() if _ISSUE.match(k)), "")
            solution = next((v for k, v in sections.items() if _SOLUTION.match(k)), "")
            question, answer = (" ".join(" ".join(_markdown_lines(t)).split()) for t in (issue, solution))
            if title and question and answer and "steps to reproduce" not in question.lower():
                pairs.append((f"{title.group(1)}\n\n{question}"[:600], answer[:900].rsplit(". ", 1)[0] + ".", lang))
    return pairs
