"""spaCy's models made faster, without a change to what they find.

Output contract: `hasten(nlp)` changes a loaded pipeline in place. Its layers multiply by numpy's BLAS; where words are
embedded by nothing but their own features (spaCy's `MultiHashEmbed` without vectors), those that have the same ones are
embedded once a batch: of English tickets a fifth to a quarter. Sums of another order differ in their last bits. And the
process keeps some of the memory that it frees.
Source: spaCy 3.8, `ml/models/tok2vec.py` (`MultiHashEmbed`).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

BY_ROW = frozenset({"ints-getitem", "hashembed", "maxout", "layernorm", "dropout"})  # layers that mix no rows
KEY = np.random.default_rng(0).integers(2**63, size=64, dtype=np.uint64) * 2 + 1  # odd
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's `mallopt`


def hasten(nlp: Any) -> None:
    """Makes a loaded spaCy pipeline faster, in place; its findings stay the same."""
    _keep_memory()
    for _, component in nlp.pipeline:
        model = getattr(component, "model", None)
        if model is not None:
            _embed_once(model)
            _use_numpy(model)


def _keep_memory() -> None:
    """Has glibc use freed blocks again, within the limits that it comes to by itself once a block of 32 MiB was freed.

    Otherwise the output of each layer (some MiB) is asked of the kernel and given back: a third of the time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries have none
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
    """Has every embedding of words by their features alone done once per distinct row of them."""
    from thinc.api import Model, NumpyOps, chain

    for layer in list(model.walk()):
        names = [part.name for part in layer.layers]
        if (
            isinstance(layer.ops, NumpyOps)
            and len(names) > 4
            and names[:2] == ["extract_features", "list2ragged"]
            and names[-1] == "ragged2list"
            and {leaf.name for part in layer.layers[2:-1] for leaf in part.walk() if not leaf.layers} <= BY_ROW
        ):
            once: Any = Model("once_per_row", _once, layers=[chain(*layer.layers[2:-1])])
            model.replace_node(layer, chain(*layer.layers[:2], once, layer.layers[-1]))


def _once(model: Any, words: Any, is_train: bool) -> tuple[Any, Any]:
    """Forward pass: a Ragged of one row of features per word to one of vectors. It is never trained."""
    from thinc.api import Ragged

    rows = words.dataXd
    keys = (rows.astype(np.uint64) * KEY[: rows.shape[1]]).sum(axis=1, dtype=np.uint64)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    if not (rows[first][place] == rows).all():  # two rows of one key
        return model.layers[0](words, is_train)[0], _untrained
    distinct = Ragged(rows[first], model.ops.asarray1i([len(first)]))
    vectors = model.layers[0](distinct, is_train)[0].dataXd
    return Ragged(vectors[place], words.lengths), _untrained


def _untrained(_: Any) -> Any:
    raise NotImplementedError("a hastened pipeline is not trained")
