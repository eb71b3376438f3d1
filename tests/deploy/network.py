"""What network policies let through between the pods of a namespace."""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.rendered import Item, containers, pods

__all__ = ["Edge", "edges"]

Edge = tuple[str, str, int]  # component that calls, component that is called, port


def edges(items: list[Item], direction: str) -> set[Edge]:
    """Give the edges that policies of one direction allow, to ports that pods have.

    Args:
        items: All objects of the namespace.
        direction: Ingress or Egress.
    """
    templates = pods(items).values()
    policies = [item["spec"] for item in items if item["kind"] == "NetworkPolicy"]
    return {
        edge
        for policy in policies
        if direction in policy["policyTypes"]
        for mine in templates
        if _selects(policy["podSelector"], mine)
        for edge in _allowed(policy, direction, mine, list(templates))
    }


def _allowed(policy: Item, direction: str, mine: Item, others: list[Item]) -> Iterator[Edge]:
    rules, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    for rule in policy.get(rules) or ():
        for other in others:
            # No peers at all are all peers; a peer of another namespace is none of these pods.
            near = [peer["podSelector"] for peer in rule.get(peers, ()) if _is_near(peer)]
            if peers in rule and not any(_selects(selector, other) for selector in near):
                continue
            caller, called = (other, mine) if direction == "Ingress" else (mine, other)
            allowed = {port["port"] for port in rule["ports"]}
            for port in sorted(allowed & _ports(called)):
                yield _component(caller), _component(called), port


def _is_near(peer: Item) -> bool:
    return "podSelector" in peer and "namespaceSelector" not in peer


def _selects(selector: Item, template: Item) -> bool:
    labels = template["metadata"]["labels"]
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    return all(
        labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()
    ) and all(_holds(expression, labels) for expression in selector.get("matchExpressions", ()))


def _holds(expression: Item, labels: Item) -> bool:
    assert expression["operator"] == "In"
    return labels.get(expression["key"]) in expression["values"]


def _ports(template: Item) -> set[int]:
    return {
        port["containerPort"]
        for container in containers(template)
        for port in container.get("ports", ())
    }


def _component(template: Item) -> str:
    return str(template["metadata"]["labels"]["app.kubernetes.io/component"])
