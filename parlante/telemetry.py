"""Traces and metrics: names, instruments, and exporters that exist only when asked for.

The hot paths use the OpenTelemetry API alone; while no exporter is configured its calls do
nothing. The standard variables ask for exporters: ``OTEL_EXPORTER_OTLP_ENDPOINT`` for both
signals, or ``OTEL_TRACES_EXPORTER=otlp`` and ``OTEL_METRICS_EXPORTER=otlp`` for one;
``OTEL_SDK_DISABLED=true`` and ``..._EXPORTER=none`` turn them off again.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import metrics as otel_metrics
from opentelemetry import propagate, trace
from opentelemetry.context import Context

from parlante.errors import InvalidInput

logger = logging.getLogger(__name__)

SCOPE: Final = "parlante"

SPAN_ENCODE: Final = "parlante.encode"
SPAN_MOTION: Final = "parlante.motion"
SPAN_RENDER: Final = "parlante.render"

ATTRIBUTE_STAGE: Final = "parlante.stage"
ATTRIBUTE_REASON: Final = "parlante.reason"

# Seconds; frames last 0.04 s and first frames should come within 0.5 s.
_DURATION_BUCKETS_S: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Every instrument of the suite."""

    sessions_active: otel_metrics.UpDownCounter
    sessions_started: otel_metrics.Counter
    sessions_refused: otel_metrics.Counter
    streams_active: otel_metrics.UpDownCounter
    slots_capacity: otel_metrics.UpDownCounter
    streams_refused: otel_metrics.Counter
    first_frame_duration: otel_metrics.Histogram
    frame_interval: otel_metrics.Histogram
    frame_latency: otel_metrics.Histogram
    frames_sent: otel_metrics.Counter
    frames_dropped: otel_metrics.Counter
    audio_ahead: otel_metrics.Histogram
    listening_dropped: otel_metrics.Counter
    interrupt_duration: otel_metrics.Histogram
    stage_duration: otel_metrics.Histogram
    replicas_known: otel_metrics.UpDownCounter
    placements: otel_metrics.Counter
    failovers: otel_metrics.Counter
    failover_gap: otel_metrics.Histogram
    sessions_resumed: otel_metrics.Counter
    latent_cache_hits: otel_metrics.Counter
    latent_cache_misses: otel_metrics.Counter


def make_metrics(meter: otel_metrics.Meter) -> Metrics:
    """Create the instruments on a meter."""

    def seconds(name: str, description: str) -> otel_metrics.Histogram:
        return meter.create_histogram(
            name,
            unit="s",
            description=description,
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S,
        )

    up_down, counter = meter.create_up_down_counter, meter.create_counter
    return Metrics(
        sessions_active=up_down("parlante.sessions.active", "{session}", "Open sessions"),
        sessions_started=counter("parlante.sessions.started", "{session}", "Sessions begun"),
        sessions_refused=counter(
            "parlante.sessions.refused",
            "{session}",
            "Sessions that found no slot or no stage, by parlante.reason",
        ),
        streams_active=up_down("parlante.streams.active", "{stream}", "Calls that hold a slot"),
        slots_capacity=up_down("parlante.slots.capacity", "{slot}", "Slots of the process"),
        streams_refused=counter(
            "parlante.streams.refused", "{stream}", "Calls refused for want of a slot"
        ),
        first_frame_duration=seconds(
            "parlante.first_frame.duration",
            "From the first audio to the first speaking frame; live sessions only",
        ),
        frame_interval=seconds(
            "parlante.frame.interval", "Between two frames sent; live sessions only"
        ),
        frame_latency=seconds(
            "parlante.frame.e2e_latency",
            "From a frame's place on the media clock to sending it; live sessions only",
        ),
        frames_sent=counter("parlante.frames.sent", "{frame}", "Frames sent"),
        frames_dropped=counter(
            "parlante.frames.dropped", "{frame}", "Frames dropped, by parlante.reason"
        ),
        audio_ahead=seconds("parlante.audio.ahead", "Audio queued ahead of the media clock"),
        listening_dropped=counter(
            "parlante.listening.dropped", "s", "Listening audio that came too fast or too late"
        ),
        interrupt_duration=seconds(
            "parlante.interrupt.duration", "From an interrupt to its effect"
        ),
        stage_duration=seconds(
            "parlante.stage.duration",
            "Work of one stage on one item, by parlante.stage; motion and frames live only",
        ),
        replicas_known=up_down(
            "parlante.replicas.known", "{replica}", "Replicas that discovery knows, by stage"
        ),
        placements=counter(
            "parlante.placements", "{stream}", "Streams placed, by stage, favourite and attempt"
        ),
        failovers=counter(
            "parlante.failovers",
            "{stream}",
            "Streams moved to another replica, by stage and reason",
        ),
        failover_gap=seconds(
            "parlante.failover.gap", "From a stream's loss to the first output of the next replica"
        ),
        sessions_resumed=counter(
            "parlante.sessions.resumed", "{session}", "Sessions taken over from another gateway"
        ),
        latent_cache_hits=counter("parlante.latent_cache.hits", "{lookup}", "Latents found"),
        latent_cache_misses=counter(
            "parlante.latent_cache.misses", "{lookup}", "Latents that had to be made"
        ),
    )


@functools.cache
def metrics() -> Metrics:
    """Give the instruments of the process; without an exporter they do nothing."""
    return make_metrics(otel_metrics.get_meter(SCOPE))


def tracer() -> trace.Tracer:
    """Give the tracer of the process; without an exporter its spans do nothing."""
    return trace.get_tracer(SCOPE)


def outgoing_metadata(span: trace.Span | None = None) -> tuple[tuple[str, str], ...]:
    """Give call metadata that continues `span` (the current one) on the other side, W3C style."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, None if span is None else trace.set_span_in_context(span))
    return tuple(carrier.items())


def incoming_context(metadata: Mapping[str, str]) -> Context:
    """Read the trace context of a call's metadata."""
    return propagate.extract(dict(metadata))


# --- exporters ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The exporters of a process; empty when none was asked for."""

    closers: tuple[Callable[[], object], ...] = ()

    @property
    def enabled(self) -> bool:
        """True when something is exported."""
        return bool(self.closers)

    def shutdown(self, *, timeout_s: float = 5.0) -> bool:
        """Flush and stop; returns False when that took longer than `timeout_s`."""
        # The SDK's own shutdown waits for retries, so it runs aside and is left behind if it hangs.
        threads = [
            threading.Thread(target=close, name="parlante-telemetry", daemon=True)
            for close in self.closers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout_s / len(threads))
        finished = not any(thread.is_alive() for thread in threads)
        if not finished:
            logger.warning("telemetry was not flushed in time", extra={"timeout_s": timeout_s})
        return finished


def is_wanted(signal: str, env: Mapping[str, str]) -> bool:
    """Tell whether the variables ask for an OTLP exporter of "traces" or "metrics"."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = env.get(f"OTEL_{signal.upper()}_EXPORTER", "").lower()
    if exporter not in ("", "otlp", "none"):
        raise InvalidInput(
            f"OTEL_{signal.upper()}_EXPORTER must be otlp or none; got {exporter[:40]!r}",
            reason="BAD_SETTING",
        )
    endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or env.get(
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    )
    return exporter == "otlp" or (exporter == "" and bool(endpoint))


def configure_telemetry(service_name: str, env: Mapping[str, str] | None = None) -> Telemetry:
    """Set the exporters that the environment asks for; call once, at the start of a process.

    Args:
        service_name: Name of the service, unless ``OTEL_SERVICE_NAME`` gives another.
        env: Variables; None takes those of the process.

    Raises:
        InvalidInput: An exporter or protocol is asked for that is not built in.
    """
    env = os.environ if env is None else env
    wanted = [signal for signal in ("traces", "metrics") if is_wanted(signal, env)]
    if not wanted:
        return Telemetry()
    protocol = env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    if protocol != "grpc":
        raise InvalidInput(
            f"OTEL_EXPORTER_OTLP_PROTOCOL must be grpc; got {protocol[:40]!r}", reason="BAD_SETTING"
        )
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": env.get("OTEL_SERVICE_NAME") or service_name})
    makers = {"traces": _export_traces, "metrics": _export_metrics}
    return Telemetry(tuple(makers[signal](resource) for signal in wanted))


def _export_traces(resource: Any) -> Callable[[], object]:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _export_metrics(resource: Any) -> Callable[[], object]:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider(resource=resource, metric_readers=[reader], shutdown_on_exit=False)
    otel_metrics.set_meter_provider(provider)
    return provider.shutdown
