"""Prometheus metrics, under the names and with the buckets of vLLM, so that its dashboards and alerts fit.

Output contract: the registry is the application's own, apart from Ray's and vLLM's. Labels are model_name and engine
("0"); a route is the pattern and never the path. Requests are counted at their end. `vllm:` names mean what they mean
in vLLM, measured at the gateway: answers beyond `serve.concurrency` are waiting, a time to the first token includes the
gateway's own time, and a choice whose client has hung up ends as `abort`. A scrape sees the one replica.
This module serves nothing and measures no times itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from serve_app.generation.admission import Admission
from serve_app.generation.guard import FindingCounts
from serve_app.generation.latency import GAPS, TokenTimes
from serve_app.observe.request import RequestRecord

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST = (  # seconds to the first token
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
WHOLE = (  # seconds of a request, or of a part of it
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
CHOICES = (1, 2, 5, 10, 20)
REASONS = ("stop", "length", "content_filter", "abort", "error")
_LABELS = ("model_name", "engine")


def sizes(largest: int) -> list[int]:
    """Returns 1, 2, 5, 10, 20, 50, ... up to the largest number of tokens."""
    steps = (digit * 10**power for power in range(len(str(largest))) for digit in (1, 2, 5))
    return [step for step in steps if step <= largest]


class Gaps(Collector):
    """The times between tokens, as sums over whole choices: counting them one by one costs too much."""

    def __init__(self, labels: tuple[str, str]) -> None:
        self.labels, self.counts, self.seconds = labels, [0] * (len(GAPS) + 1), 0.0

    def add(self, times: TokenTimes) -> None:
        """Adds the times between the tokens of one choice."""
        if times.first is not None:
            self.counts = [old + new for old, new in zip(self.counts, times.gaps, strict=True)]
            self.seconds += times.last - times.first

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """See prometheus_client's `Collector`."""
        family = HistogramMetricFamily(
            "vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", labels=_LABELS
        )
        bounds = [*map(str, GAPS), "+Inf"]
        family.add_metric(self.labels, list(zip(bounds, accumulate(self.counts), strict=True)), self.seconds)
        yield family


class GuardFindings(Collector):
    """The guard's counts of findings, read at every scrape."""

    def __init__(self, counts: FindingCounts) -> None:
        self.counts = counts

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See prometheus_client's `Collector`."""
        family = CounterMetricFamily(
            "solotune:guard_findings", "What the guard found.", labels=("direction", "type", "action")
        )
        for labels, count in sorted(self.counts.items()):
            family.add_metric(labels, count)
        yield family


class Metrics:
    """The registry and its metrics; `gateway` adds those of the guard and of the request log."""

    def __init__(self, model: str, context: int, concurrency: int, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        self._labels = (model, "0")
        tokens = sizes(context)
        self.gaps = Gaps(self._labels)
        self.registry.register(self.gaps)
        ProcessCollector(registry=self.registry)
        self.gauge("vllm:num_requests_running", "Answers being made.", lambda: min(admission.active, concurrency))
        self.gauge("vllm:num_requests_waiting", "Answers waiting.", lambda: max(0, admission.active - concurrency))
        self._prompt = self._counter("vllm:prompt_tokens", "Prompt tokens processed.")
        self._generated = self._counter("vllm:generation_tokens", "Tokens generated.")
        done = Counter(
            "vllm:request_success", "Answers by how they ended.", [*_LABELS, "finished_reason"], registry=self.registry
        )
        self._done = {reason: done.labels(*self._labels, reason) for reason in REASONS}
        self._first = self._histogram("vllm:time_to_first_token_seconds", "Time to the first token.", FIRST)
        self._each = self._histogram("vllm:request_time_per_output_token_seconds", "Mean time per token.", GAPS)
        self._whole = self._histogram("vllm:e2e_request_latency_seconds", "Whole time of a request.", WHOLE)
        self._decode = self._histogram("vllm:request_decode_time_seconds", "First to last token.", WHOLE)
        self._prompts = self._histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", tokens)
        self._answers = self._histogram("vllm:request_generation_tokens", "Tokens of an answer.", tokens)
        self._most = self._histogram("vllm:request_params_max_tokens", "Tokens that were allowed.", tokens)
        self._choices = self._histogram("vllm:request_params_n", "Answers that were asked for.", CHOICES)
        names = ["route", "status"]
        self._http = Counter("solotune:http_requests", "HTTP requests that are over.", names, registry=self.registry)

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Adds a gauge; `value` is called at every scrape."""
        Gauge(name, what, _LABELS, registry=self.registry).labels(*self._labels).set_function(value)

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(name, what, _LABELS, registry=self.registry).labels(*self._labels)

    def _histogram(self, name: str, what: str, buckets: Iterable[float]) -> Histogram:
        histogram = Histogram(name, what, _LABELS, buckets=tuple(buckets), registry=self.registry)
        return histogram.labels(*self._labels)

    def count(self, record: RequestRecord) -> None:
        """Counts a request at its end."""
        self._http.labels(record.route, str(record.status)).inc()
        if (job := record.job) is None:
            return
        self._prompt.inc(job.usage.prompt_tokens)
        self._generated.inc(job.usage.completion_tokens)
        self._choices.observe(len(job.generations))
        if record.status < 400:
            self._whole.observe(record.seconds)
            self._prompts.observe(job.usage.prompt_tokens)
        for generation, times in zip(job.generations, job.token_times, strict=True):
            self._most.observe(generation.max_tokens)
            self._done[times.finish_reason or ("error" if record.status >= 500 else "abort")].inc()
            self.gaps.add(times)
            if times.tokens:
                self._answers.observe(times.tokens)
            if times.first is None or (times.first == times.last and times.tokens > 1):
                continue  # an answer in one piece has no first token
            self._first.observe(times.first - record.started)
            self._decode.observe(times.last - times.first)
            if times.per_token is not None:
                self._each.observe(times.per_token)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
