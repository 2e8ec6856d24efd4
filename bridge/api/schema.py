"""The description of the API: every endpoint says each answer it can give, refusals too."""

from __future__ import annotations

import inspect
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse

from bridge.api.errors import ErrorSerializer

if TYPE_CHECKING:
    from rest_framework.request import Request

DESCRIPTIONS = {
    400: "Something in the request cannot be read or used; `details` names it.",
    401: "No valid token, and nobody is logged in.",
    403: "This needs a permission that the user does not have, or the CSRF token is missing.",
    404: "There is no such row, or no such path.",
    409: "It conflicts with what is stored.",
    413: "The request is too large.",
    415: "The body is of a type that is not read here.",
    422: "Well-formed, but it cannot be done; the message says why.",
    429: "Too many requests in this minute; the header Retry-After says how many seconds to wait.",
}


# For what DRF's mixins do; everything else says it in its docstring.
USUAL = {
    "list": "List them, newest first, page by page.",
    "retrieve": "Get one by its id.",
    "create": "Add one.",
    "partial_update": "Change what is given.",
    "destroy": "Delete it.",
}


class DescribedSchema(AutoSchema):
    """Adds the errors that follow from an endpoint's parameters, and those that it names in `extra_statuses`."""

    def get_description(self) -> str:  # type: ignore[override]  # drf-spectacular gives no arguments
        view: Any = self.view
        own = getattr(view, view.action).__doc__
        return inspect.cleandoc(own) if own else USUAL[view.action]

    def get_summary(self) -> str:
        """The first sentence, which the page shows before an endpoint is opened."""
        return self.get_description().partition(". ")[0].rstrip(".")

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for code in self._refusals():
            answer = OpenApiResponse(ErrorSerializer, DESCRIPTIONS[code])
            bodies[str(code)] = self._get_response_for_code(answer, str(code), direction=direction)  # type: ignore[no-untyped-call]
        return dict(sorted(bodies.items()))

    def _refusals(self) -> set[int]:
        view: Any = self.view
        found = {401, 403, 413, 429, *view.extra_statuses.get(view.action, ())}
        if "{" in self.path:
            found.add(HTTPStatus.NOT_FOUND)
        if self._is_list_view():
            found.add(HTTPStatus.BAD_REQUEST)
        if self.method in ("POST", "PATCH"):  # also without a body: the check of the CSRF token reads one
            found |= {400, 415}
        return found


class Generator(SchemaGenerator):
    """Makes the description once for each process: nothing in it depends on the request."""

    made: ClassVar[Any] = None

    def get_schema(self, request: Request | None = None, public: bool = False) -> Any:
        if Generator.made is None:
            Generator.made = super().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        return Generator.made


def close_objects(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """A postprocessing hook: what is sent may hold no unknown names (see `bridge.api.fields.StrictSerializer`)."""
    for name, component in result["components"]["schemas"].items():
        if name.endswith("Request"):
            component.setdefault("additionalProperties", False)
    return result
