"""The platforms' XML: flat to read, and in their own style to write."""

from xml.etree import ElementTree

from channels_wechat.simulator.core.crypto import CryptoError
from channels_wechat.simulator.core.state import JSON


def from_xml(body: bytes) -> dict[str, str]:
    """Top-level elements and their text; CryptoError for what is not XML."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 (written by the bridge under test, read in a test tool)
    except ElementTree.ParseError as error:
        raise CryptoError("passive reply is not XML") from error
    return {child.tag: child.text or "" for child in root}


def to_xml(fields: JSON, root: str = "xml") -> str:
    """Strings become CDATA, numbers stay bare, a list repeats its element: the platform's own style."""
    return f"<{root}>" + "".join(_element(name, value) for name, value in fields.items()) + f"</{root}>"


def _element(name: str, value: object) -> str:
    if isinstance(value, dict):
        return to_xml(value, name)
    if isinstance(value, list):
        return "".join(_element(name, item) for item in value)
    if isinstance(value, str):
        safe = value.replace("]]>", "]]]]><![CDATA[>")
        return f"<{name}><![CDATA[{safe}]]></{name}>"
    return f"<{name}>{value}</{name}>"
