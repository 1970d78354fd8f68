"""Curation stages against the stock parts they are made of, on the bundled sample, in one run.

Run: `python -m bench.curation [--rows N] [--json]`. Output contract: for each stage rows/s of both and their ratio;
with `--json` one object of the ratios. The stock side is each library as its documentation uses it: one text at a time.
Times are those of one core; only the ratio means anything on another machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import Dedup, Pii, Read, Toxicity

ROOT = Path(__file__).parent.parent
LANGUAGES = ("en", "de")


def sample(rows: int) -> pa.Table:
    """Returns the first `rows` readable tickets of the bundled sample (WORKING)."""
    from pipeline import schema
    from pipeline.read import discover, read

    files = discover([str(ROOT / "assets" / "sample" / "dump")], Read()).files
    table = pa.concat_tables([table for file in files for table in read(file, Read())])
    return table.filter(pa.array(schema.unmarked(table))).slice(0, rows)


def seconds(work: Callable[[], Any]) -> float:
    """Returns the best of two runs."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def pii(table: pa.Table) -> tuple[float, float]:
    """Returns (stock, ours) seconds: Presidio's AnalyzerEngine on every text, and the stage without known entities."""
    from pipeline.screen.entities import KnownEntities
    from pipeline.screen.pii import PiiStage, engine

    stage = PiiStage(Pii(known_entities=False), LANGUAGES, KnownEntities.collect([]))
    stock = engine("en", None)
    texts = [text for name in ("prompt", "response") for text in table[name].to_pylist()]
    return seconds(lambda: [stock.analyze(text, "en") for text in texts]), seconds(lambda: stage(table))


def toxicity(table: pa.Table) -> tuple[float, float]:
    """Returns (stock, ours) seconds: `Detoxify.predict` on every text, and the stage, same embedded checkpoint."""
    from pipeline.screen.toxicity import ToxicityStage, _load

    folder = str(ROOT / "assets" / "toxicity-small")
    stage, stock = ToxicityStage(Toxicity(model=folder)), _load(folder, "cpu")
    texts = [text for name in ("prompt", "response") for text in table[name].to_pylist()]
    return seconds(lambda: [stock.predict(text) for text in texts]), seconds(lambda: stage(table))


def signatures(table: pa.Table) -> tuple[float, float]:
    """Returns (stock, ours) seconds from text to MinHash signature: datasketch's `update` in a loop, and in batches."""
    from datasketch import MinHash

    from pipeline.dedup import bands
    from pipeline.dedup.shingles import shingle

    settings = Dedup()
    count = settings.bands * settings.rows
    perms = bands.permutations(count)
    pairs = zip(table["prompt"].to_pylist(), table["response"].to_pylist(), strict=True)
    texts = [f"{prompt}\n{response}" for prompt, response in pairs]

    def stock() -> None:
        for text in texts:
            words = text.lower().split()
            sketch = MinHash(num_perm=count)
            for gram in {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}:
                sketch.update(gram.encode())

    return seconds(stock), seconds(lambda: bands.signatures(shingle(texts, settings.shingle_words), perms))


def main() -> None:
    parser = argparse.ArgumentParser(description="Curation stages against the stock parts they are made of.")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    args = parser.parse_args()
    table = sample(args.rows)
    ratios = {}
    for name, work in (("pii", pii), ("toxicity", toxicity), ("signatures", signatures)):
        stock, ours = work(table)
        ratios[name] = round(stock / ours, 2)
        if not args.json:
            rates = f"stock {table.num_rows / stock:9,.0f} rows/s   ours {table.num_rows / ours:9,.0f} rows/s"
            print(f"{name:<12}{rates}   {ratios[name]:6.1f}x")
    if args.json:
        keys = {"pii": "pii_x_stock", "toxicity": "toxicity_x_stock", "signatures": "signatures_x_datasketch"}
        print(json.dumps({key: ratios[name] for name, key in keys.items()}))


if __name__ == "__main__":
    main()
