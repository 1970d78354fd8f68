"""The page `docs/matrix.md`: every cell by its outcome, every sentence once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pipeline.models import architectures, template
from tests.matrix.bases import TEMPLATES
from tests.matrix.cell import STEPS, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "matrix.md"
COMMAND = "python -m tests.matrix"
Row = dict[str, Outcome]
"""The outcome of each of `STEPS`."""

_HEAD = f"""# What goes with what

Architectures x chat templates x the steps of the road, on tiny random models with the shapes of published ones and
tokenizers of the templates' kinds. `{COMMAND}` writes this page; it takes 6 minutes on two cores.
"refused" is told before anything is trained (by an engine, when it starts), in the sentence below the tables.

| step | what passed |
|---|---|
| mask | the answer and its stop token alone are supervised, right behind the ids that serving asks with |
| pack | a packed row has the loss of its examples alone; "padded": on a CPU the row is a batch instead |
| merge | the merged model has the logits of base and adapter |
| stop | the token that rows end with ends an answer in serving, and in the merged model's files |
| GGUF | the F16 file has training's rendering and token ids in llama.cpp, and the merged model's perplexity |
| serve | "ids": serving asks with those of training; "answers": and the hf engine's greedy ones are evaluation's |
"""


def text(results: dict[tuple[str, str], Row]) -> str:
    """Returns the page; `results` has a row for every architecture (by `model_type`) and template."""
    sentences: dict[str, int] = {}
    counts = Counter(outcome.result for row in results.values() for outcome in row.values())
    tables = [_table(model_type, results, sentences) for model_type in architectures.ARCHITECTURES]
    total = f"{len(results):,} pairs, {sum(counts.values()):,} cells: " + ", ".join(
        f"{count:,} {result}" for result, count in sorted(counts.items(), key=lambda pair: -pair[1])
    )
    numbered = [f"{number}. {sentence}" for sentence, number in sentences.items()]
    parts = [_HEAD, f"{total}.", _templates(), *tables, "## Sentences\n", "\n".join(numbered), _refused()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def row(name: str, outcomes: Row, sentences: dict[str, int]) -> str:
    """Returns a template's line in a table; `sentences` learns the number of each refusal."""
    cells = [_cell(outcomes[step], sentences) for step in STEPS]
    return f"| {' | '.join([name, *cells])} |"


def _cell(outcome: Outcome, sentences: dict[str, int]) -> str:
    if outcome.result == "passed":
        return outcome.sentence or "passed"
    return f"{outcome.result} ({sentences.setdefault(outcome.sentence, len(sentences) + 1)})"


def _table(model_type: str, results: dict[tuple[str, str], Row], sentences: dict[str, int]) -> str:
    lines = [row(name, results[model_type, name], sentences) for name in TEMPLATES]
    head = f"| template | {' | '.join(STEPS)} |\n|{'---|' * (len(STEPS) + 1)}"
    return "\n".join([f"## {architectures.ARCHITECTURES[model_type].name} (`{model_type}`)\n", head, *lines])


def _templates() -> str:
    """Returns what each template is, and whether it is used as it comes."""
    lines = [f"| {name} | {_kind(name)} | {_used(name)} |" for name in TEMPLATES]
    return "\n".join(["## The templates\n", "| template | tokenizer | used |\n|---|---|---|", *lines])


def _kind(name: str) -> str:
    return "byte level" if '"ByteLevel"' in TEMPLATES[name].make().backend_tokenizer.to_str() else "SentencePiece"


def _used(name: str) -> str:
    tokenizer = TEMPLATES[name].tokenizer()
    if TEMPLATES[name].text is None:
        return f"`chat_template: {template.DEFAULT}`"
    own = template.template_text(tokenizer)
    try:
        return "as it comes" if template.template_text(template.prepare_tokenizer(tokenizer, None)) == own else "mended"
    except architectures.ConfigError:
        return "refused"


def _refused() -> str:
    """Returns why architectures that are not in the tables are refused."""
    lines = []
    for reason, kinds in architectures._REASONS.items():
        lines.append(f"- {reason}: {', '.join(f'`{kind}`' for kind in sorted(kinds.split()))}")
    return "\n".join(
        ["## Architectures that are refused\n", *lines, "- its architecture is not proven here: any other"]
    )
