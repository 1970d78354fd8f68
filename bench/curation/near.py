"""MinHash signatures against datasketch's `update` in a loop."""

from __future__ import annotations

from bench.curation.sample import seconds, tickets
from pipeline.config import Dedup


def measure(quick: bool) -> dict[str, float | None]:
    """Returns `signatures_x_datasketch`."""
    from datasketch import MinHash

    from pipeline.dedup import bands
    from pipeline.dedup.shingles import shingle

    table = tickets(200 if quick else 2_000)
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

    ours = seconds(lambda: bands.signatures(shingle(texts, settings.shingle_words), perms))
    return {"signatures_x_datasketch": seconds(stock) / ours}
