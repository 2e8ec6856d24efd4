"""The first day of the staff, step by step: see `journey`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.journey import STEPS

if TYPE_CHECKING:
    from tests.browser.conftest import Told

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("name", [step.__name__ for step in STEPS])
def test_staff(told: Told, name: str) -> None:
    if name not in told.outcomes:
        pytest.skip("a step before this one failed")
    if error := told.outcomes[name]:
        raise error
