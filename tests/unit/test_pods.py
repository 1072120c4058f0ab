"""What a pod's status says."""

from __future__ import annotations

from typing import Any

import pytest

from devloop.pods import containers, selector_text


@pytest.mark.parametrize(("selector", "text"), [
    ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
    ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["web", "api"]}]}, "tier in (web,api)"),
    ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}, "tier notin (db)"),
    ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, "a=1,b"),
    ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, "!b"),
    ({}, ""),
])
def test_a_selector_is_written_as_the_api_wants_it(selector: dict[str, Any], text: str) -> None:
    assert selector_text(selector) == text


def test_containers_come_in_the_order_they_run_with_or_without_a_status() -> None:
    pod = {"spec": {"containers": [{"name": "web"}, {"name": "proxy"}], "initContainers": [{"name": "migrate"}]},
           "status": {"containerStatuses": [{"name": "proxy", "restartCount": 2, "state": {"running": {"startedAt": "x"}},
                                             "lastState": {"terminated": {"exitCode": 1}}}]}}
    found = list(containers(pod))
    assert [(c.kind, c.name) for c in found] == [("init", "migrate"), ("main", "web"), ("main", "proxy")]
    assert (found[2].restarts, found[2].running, found[2].last_terminated) == (2, {"startedAt": "x"}, {"exitCode": 1})
    assert (found[1].restarts, found[1].waiting, found[1].status) == (0, {}, {})
