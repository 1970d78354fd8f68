"""The toxicity stage against `Detoxify.predict` text by text, same checkpoint."""

from __future__ import annotations

from bench.curation.sample import seconds, tickets
from pipeline.config import Toxicity, model_path


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `toxicity_x_stock`."""
    from pipeline.screen.toxicity import ToxicityStage, _load

    table = tickets(200 if quick else 2_000)
    folder = model_path("toxicity-small")
    stage, stock = ToxicityStage(Toxicity(model=folder)), _load(folder, "cpu")
    texts = [text for name in ("prompt", "response") for text in table[name].to_pylist()]
    theirs = seconds(lambda: [stock.predict(text) for text in texts])
    return {"toxicity_x_stock": theirs / seconds(lambda: stage(table))}
