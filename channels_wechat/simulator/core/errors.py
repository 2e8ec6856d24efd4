"""How the platform says no: HTTP 200 with an integer errcode (facts: wecom.md 1.1)."""


class PlatformError(Exception):
    def __init__(self, errcode: int, errmsg: str) -> None:
        super().__init__(f"{errcode} {errmsg}")
        self.errcode = errcode
        self.errmsg = errmsg


class ControlError(Exception):
    """A wrong request to the control API: HTTP 400 with this sentence."""
