"""The measured recall of the recognisers on a public set of synthetic personal data.

Output contract: `figures(settings)` returns the set's name, the number of its texts, and for each type the number of
spans, the recall (spans covered whole by findings of any type) and the precision (findings that touch a span of any
type). PERSON is included where the bundled NER model reads English: the set is English, and no other model was
measured. The numbers are those of `recall.json`, which `python -m bench.curation.pii --recall` writes.
This module measures nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.config import Pii, model_path

FILE = Path(__file__).with_name("recall.json")
BUNDLED = "ner-small"


def figures(settings: Pii) -> dict[str, Any]:
    """Returns `set`, `texts` and `types`, type -> its figures, of the recognisers that the settings turn on."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))
    types = dict(measured["patterns"])
    if settings.ner.get("en") == model_path(BUNDLED) and "PERSON" in settings.entities:
        types |= measured[BUNDLED]
    return {"set": measured["set"], "texts": measured["texts"], "types": types}
