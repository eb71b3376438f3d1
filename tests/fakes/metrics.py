"""What the instruments have counted, without an exporter."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from parlante import telemetry

__all__ = ["counts", "points", "read_metrics"]


def read_metrics(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """Let a test's instruments count for a reader."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    made = telemetry.make_metrics(provider.get_meter("test"))
    monkeypatch.setattr(telemetry, "metrics", lambda: made)
    return reader


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Give the data points, by the metric's name."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def counts(reader: InMemoryMetricReader, name: str, attribute: str) -> dict[str, float]:
    """Give the values of a counter, by an attribute."""
    return {str(point.attributes[attribute]): point.value for point in points(reader)[name]}
