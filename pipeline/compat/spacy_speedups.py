"""spaCy's models made faster; the entities they find stay the same.

Output contract: `speed_up(nlp)` changes a loaded pipeline in place. Layers multiply by numpy's BLAS. Words embedded by
their own features alone (spaCy's `MultiHashEmbed` without vectors) are embedded once per batch and distinct row of
features, which leaves a fifth to a quarter of the rows of English tickets. Vectors may differ in their last bits, as
the order of sums does. The process keeps some of the memory that it frees. On an unsupported release of spaCy or thinc
the layers stay as they are.
Source: spaCy 3.8, `ml/models/tok2vec.py` (`MultiHashEmbed`).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from pipeline.compat.versions import supported

ROWWISE = frozenset({"ints-getitem", "hashembed", "maxout", "layernorm", "dropout"})  # layers that mix no rows
FACTORS = np.random.default_rng(0).integers(2**63, size=64, dtype=np.uint64) * 2 + 1  # odd
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's `mallopt`


def speed_up(nlp: Any) -> None:
    """Makes a loaded spaCy pipeline faster, in place."""
    _keep_memory()
    if not supported("spacy", "thinc"):
        return
    for _, component in nlp.pipeline:
        model = getattr(component, "model", None)
        if model is not None:
            _embed_once(model)
            _use_numpy(model)


def _keep_memory() -> None:
    """Has glibc reuse freed blocks, within the limits that it sets itself once a block of 32 MiB was freed.

    Without it the kernel maps and unmaps the output of each layer (some MiB), a third of the time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 32 << 20)
        mallopt(TRIM_THRESHOLD, 64 << 20)


def _use_numpy(model: Any) -> None:
    """Has the layers multiply by numpy's BLAS: spaCy's BLIS takes portable kernels on processors it does not know."""
    from thinc.api import NumpyOps

    for layer in model.walk():
        if isinstance(layer.ops, NumpyOps):
            layer.ops = NumpyOps(use_blis=False)


def _embed_once(model: Any) -> None:
    """Wraps every embedding of words by their features alone, so that it runs once per distinct row of features."""
    from thinc.api import Model, NumpyOps, chain

    for layer in list(model.walk()):
        names = [child.name for child in layer.layers]
        if (
            isinstance(layer.ops, NumpyOps)
            and len(names) > 4
            and names[:2] == ["extract_features", "list2ragged"]
            and names[-1] == "ragged2list"
            and {leaf.name for child in layer.layers[2:-1] for leaf in child.walk() if not leaf.layers} <= ROWWISE
        ):
            wrapped: Any = Model("embed_distinct", _embed_distinct, layers=[chain(*layer.layers[2:-1])])
            model.replace_node(layer, chain(*layer.layers[:2], wrapped, layer.layers[-1]))


def _embed_distinct(model: Any, words: Any, is_train: bool) -> tuple[Any, Any]:
    """Forward pass from a Ragged of features, uint64 (words, features), to one of vectors, float32 (words, width)."""
    from thinc.api import Ragged

    rows = words.dataXd
    hashes = (rows.astype(np.uint64) * FACTORS[: rows.shape[1]]).sum(axis=1, dtype=np.uint64)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    if not (rows[first][inverse] == rows).all():  # two rows share a hash
        return model.layers[0](words, is_train)[0], _backward
    distinct = Ragged(rows[first], model.ops.asarray1i([len(first)]))
    vectors = model.layers[0](distinct, is_train)[0].dataXd
    return Ragged(vectors[inverse], words.lengths), _backward


def _backward(_: Any) -> Any:
    raise NotImplementedError("a pipeline changed by speed_up cannot be trained")
