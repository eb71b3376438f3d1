"""Rules, alerts, collector and dashboard: valid, tested, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from parlante import telemetry
from tests.deploy.rendered import KUBERNETES, ROOT, Item, overlay

OBSERVABILITY: Final = KUBERNETES / "components/observability"
DASHBOARDS: Final = sorted(OBSERVABILITY.glob("dashboard*.json"))


def _promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool; on Debian: apt-get install -y prometheus")
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=OBSERVABILITY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid_and_raise_the_alerts_they_should() -> None:
    _promtool("check", "rules", "rules.yaml")
    _promtool("test", "rules", "rules_test.yaml")


def _groups() -> list[Item]:
    groups: list[Item] = yaml.safe_load((OBSERVABILITY / "rules.yaml").read_text())["groups"]
    return groups


def test_the_clusters_rules_are_those_that_are_tested() -> None:
    rule = next(item for item in overlay("prod") if item["kind"] == "PrometheusRule")
    assert rule["spec"]["groups"] == _groups()


def test_every_alert_has_a_page_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    alerts = {rule["alert"] for group in _groups() for rule in group["rules"] if "alert" in rule}
    assert set(headings) == alerts


def test_every_alert_is_seen_to_be_raised() -> None:
    tests = yaml.safe_load((OBSERVABILITY / "rules_test.yaml").read_text())["tests"]
    raised = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert raised == {r["alert"] for group in _groups() for r in group["rules"] if "alert" in r}


def test_rules_and_panels_name_metrics_that_exist() -> None:
    class Meter:
        def __init__(self) -> None:
            self.names: set[str] = set()

        def _note(self, name: str, *args: Any, **options: Any) -> object:
            base = name.replace(".", "_")
            unit = options.get("unit") or (args[0] if args else "")
            if unit == "s" and not base.endswith("dropped"):
                base += "_seconds"
            self.names |= {base, f"{base}_total", f"{base}_bucket", f"{base}_count", f"{base}_sum"}
            return object()

        create_histogram = create_up_down_counter = create_counter = _note

    meter = Meter()
    telemetry.make_metrics(meter)  # type: ignore[arg-type]
    sources = [OBSERVABILITY / "rules.yaml", *DASHBOARDS]
    text = "".join(source.read_text() for source in sources)
    used = set(re.findall(r"\bparlante_[a-z0-9_]+", text))
    labels = {"parlante_stage", "parlante_reason", "parlante_favourite", "parlante_tier"}
    assert used - labels - {"parlante_slots_wanted"} <= meter.names


def test_the_collectors_pipelines_name_parts_that_exist() -> None:
    config = yaml.safe_load((OBSERVABILITY / "collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= config[kind].keys()
    assert set(config["service"]["extensions"]) <= config["extensions"].keys()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_are_such_that_grafana_takes(path: Path) -> None:
    board = json.loads(path.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) >= 10
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert all(expressions)
    recorded = {
        rule["record"] for group in _groups() for rule in group["rules"] if "record" in rule
    }
    assert set(re.findall(r"\bparlante:[a-z0-9_:]+", " ".join(expressions))) <= recorded
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_ask_what_prometheus_understands(path: Path, tmp_path: Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel_{n}", "expr": text} for n, text in enumerate(expressions)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    _promtool("check", "rules", str(file))


def test_dashboards_are_all_in_the_cluster() -> None:
    (item,) = [
        item
        for item in overlay("prod")
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] == "parlante-dashboard"
    ]
    boards = [json.loads(text)["uid"] for text in item["data"].values()]
    assert sorted(boards) == sorted(json.loads(path.read_text())["uid"] for path in DASHBOARDS)
