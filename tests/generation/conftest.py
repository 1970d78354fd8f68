"""The small model of `tests.small_model`."""

from tests.small_model import make_project, one_thread, tiny  # noqa: F401
