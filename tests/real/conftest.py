"""A test that fails says what the bridge did and what the gateway said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import DatabaseError

from tests.real import evidence
from tests.real.openclaw_lab import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Also for a fixture that failed: its database is there until the module ends, and so are the logs."""
    report = yield
    if not report.failed:
        return report
    if isinstance(item, pytest.Function) and "database" in item.fixturenames:
        report.sections.append(("The newest deliveries", _read(evidence.describe_deliveries)))
        report.sections.append(("Accounts and gateways", _read(evidence.describe_states)))
    for name, log in logs.items():
        report.sections.append((f"The last lines of the {name}", evidence.read_last_lines(log)))
    return report


def _read(describe: Callable[[], str]) -> str:
    try:
        return describe()
    except (
        DatabaseError,
        RuntimeError,
    ) as error:  # RuntimeError: pytest-django refuses where the database was not made
        return f"the rows cannot be read: {error}"
