"""The metrics of a curation, from `tests.curation_metrics`."""

from tests.curation_metrics import metrics, project  # noqa: F401
