"""The small model and the curated run folder of `tests.small_model`."""

from tests.small_model import curated, make_project, one_thread, packed, tiny, tokenizer  # noqa: F401
