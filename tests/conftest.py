"""What all tests share: in CI nothing skips, and a failure on the real cluster shows what the cluster's own logs said."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

CLUSTER_LOGS = Path(os.environ.get("DEVLOOP_CLUSTER_RUN", "/run/devloop-cluster")) / "log"
CLUSTER_DAEMONS = ("dockerd", "kubelet", "apiserver")
COMPLAINT = re.compile(r"^[EF]\d{4} |level=(error|fatal)|^panic:")
IN_CI = os.environ.get("CI", "") not in ("", "0", "false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _no_skip_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _no_skip_in_ci((yield))


def _no_skip_in_ci(report: Report) -> Report:
    """A machine that tests everything must have everything: there, a skip is a failure that says what is missing."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"in CI no test skips. {reason}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last complaints of the cluster's daemons, where a test that needs it has failed."""
    failed = terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", [])
    if not any("cluster" in getattr(report, "keywords", ()) for report in failed):
        return
    for daemon in CLUSTER_DAEMONS:
        log = CLUSTER_LOGS / f"{daemon}.log"
        if log.exists():
            complaints = [line for line in log.read_text(errors="replace").splitlines() if COMPLAINT.search(line)]
            terminalreporter.section(f"the last errors in {log}")
            terminalreporter.write_line("\n".join(line[:500] for line in complaints[-15:]))
