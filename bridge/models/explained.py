"""What rows with a code and its parameters have in common: they are explained when somebody looks, in that person's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.explanations.tables import explain_with
from channels_wechat.contract.explanations import Cause

if TYPE_CHECKING:
    from channels_wechat.contract.explanations import Table


class ExplainedMixin:
    """code, code_params: the columns; hidden: what is shown instead, to somebody who may not read what the other side said."""

    code: Any
    code_params: Any
    hidden: Any = ""

    @property
    def explanations(self) -> Table:
        """What the codes of this row mean."""
        raise NotImplementedError

    @property
    def cause(self) -> Cause:
        return Cause(self.code, self.code_params)

    @property
    def error(self) -> str:
        """What went wrong and what to do, in the language that is active now; empty where nothing did."""
        if not self.code and not self.code_params:
            return ""
        return str(self.hidden or explain_with(self.explanations, self.code, self.code_params))
