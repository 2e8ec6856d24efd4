"""Rows for tests. `models` has one function for each model and takes the columns as keywords; `pipeline` makes rows the way the
product does, by its own code; `world` fills the pages; `values` are the credentials of all of them; `waiting` waits for others."""

from tests.support.factories.models import *  # noqa: F403
from tests.support.factories.pipeline import *  # noqa: F403
from tests.support.factories.values import *  # noqa: F403
from tests.support.factories.waiting import *  # noqa: F403
from tests.support.factories.world import *  # noqa: F403
