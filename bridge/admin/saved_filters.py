"""Filters of lists that staff save by name: their own, and those that colleagues share. Each is a query of its list, never an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin.options import IS_FACETS_VAR, IS_POPUP_VAR, TO_FIELD_VAR, IncorrectLookupParameters
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect, QueryDict
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from bridge.admin.paging import CURSOR_PARAMETERS, row_number
from bridge.models import SavedFilter
from bridge.models.saved_filters import NAME_LENGTH, QUERY_LENGTH
from bridge.security import audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.auth.models import User
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from bridge.admin.export import ListPage

SHARE = "bridge.share_filter"
NOT_UNDERSTOOD = _("A filter in the address is not understood, so none of it is used.")
# Of one person on one list.
MOST = 50
# Which part of a list is shown and how, which is no filter.
PLACES = {ALL_VAR, ERROR_FLAG, IS_FACETS_VAR, IS_POPUP_VAR, PAGE_VAR, TO_FIELD_VAR, *CURSOR_PARAMETERS}
MASKED = "***"


class Shown(NamedTuple):
    """A saved filter above its list. may_remove: whether this reader may."""

    row: SavedFilter
    is_chosen: bool
    may_remove: bool


class NameForm(forms.Form):
    name = forms.CharField(max_length=NAME_LENGTH)
    shared = forms.BooleanField(required=False)


def normalise(given: QueryDict) -> str:
    """Return the filter, search and order of a list, sorted, as they stand in an address behind `?`."""
    return urlencode(sorted((name, value) for name, value in _list_values(given)))


def without_search(given: QueryDict) -> str:
    """Return the same, without the word that was searched for."""
    return urlencode(
        sorted((name, MASKED if name == SEARCH_VAR else value) for name, value in _list_values(given)), safe="*"
    )


def _list_values(given: QueryDict) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, values in given.lists() for value in values if value and name not in PLACES)


def list_filters(user: Any, list_name: str = "") -> QuerySet[SavedFilter]:
    """Return this person's filters and the shared ones. list_name: of one list only."""
    rows = SavedFilter.objects.filter(Q(owner=user) | Q(shared=True))
    return rows.filter(list=list_name) if list_name else rows


def show_filters(request: HttpRequest, list_name: str, query: str) -> list[Shown]:
    """Return what stands above a list. query: the normalised one of the page, whose filters are marked."""
    may_share = request.user.has_perm(SHARE)
    found = list_filters(request.user, list_name).select_related("owner")[: 4 * MOST]
    return [Shown(row, row.query == query, may_share if row.shared else True) for row in found]


def save(page_admin: ListPage, request: HttpRequest) -> HttpResponseRedirect:
    """Save the filter of the address by the name that was sent. What is wrong is said on the list."""
    query, form = normalise(request.GET), NameForm(request.POST)
    back = page_admin.list_address(query)
    if problem := _find_problem(page_admin, request, query, form):
        messages.error(request, problem)
        return HttpResponseRedirect(back)
    shared = form.cleaned_data["shared"]
    if shared and not request.user.has_perm(SHARE):
        raise PermissionDenied
    user: User = request.user  # type: ignore[assignment]  # only staff come here
    own = {"owner": user, "list": page_admin.list_name, "name": form.cleaned_data["name"]}
    with transaction.atomic():
        row, is_new = SavedFilter.objects.get_or_create(**own, defaults={"query": query, "shared": shared})
        if is_new and shared:
            audit.log_action(gettext_noop("shared a filter"), [row])
    if is_new:
        messages.success(request, _("The filter is saved."))
    else:
        messages.error(request, _("You have a filter with this name already."))
    return HttpResponseRedirect(back)


def _find_problem(page_admin: ListPage, request: HttpRequest, query: str, form: NameForm) -> str:
    """Return why this cannot be saved; empty where it can."""
    if not query:
        return _now("Choose a filter or search for something first, then save it.")
    if not form.is_valid():
        return _now("Enter a name of at most %(most)d characters.") % {"most": NAME_LENGTH}
    if len(query) > QUERY_LENGTH:
        return _now("This filter is too long to be saved.")
    if SavedFilter.objects.filter(owner=request.user.pk, list=page_admin.list_name).count() >= MOST:
        return _now("You have %(most)d filters of this list already. Remove one first.") % {"most": MOST}
    try:
        stale = list_stale(page_admin.get_changelist_instance(request))
    except IncorrectLookupParameters:
        return str(NOT_UNDERSTOOD)
    return describe_stale(stale) if stale else ""


def remove(page_admin: ListPage, request: HttpRequest, pk: int) -> HttpResponseRedirect:
    """Remove one's own filter, or a shared one with the right to share. Raises Http404, PermissionDenied."""
    with transaction.atomic():
        row = list_filters(request.user, page_admin.list_name).select_for_update(of=("self",)).filter(pk=pk).first()
        if row is None:
            raise Http404
        if row.shared and not request.user.has_perm(SHARE):
            raise PermissionDenied
        if row.shared:
            audit.log_action(gettext_noop("removed a shared filter"), [row])
        row.delete()
    messages.success(request, _("The filter is removed."))
    return HttpResponseRedirect(page_admin.list_address(""))


def list_stale(changelist: Any) -> list[str]:
    """Return the titles of the filters whose value is none of their choices, as of an account that was deleted."""
    stale = [str(spec.title) for spec in changelist.filter_specs if _is_stale(spec, changelist)]
    return [*stale, *_list_passed_over(changelist)]


def _is_stale(spec: Any, changelist: Any) -> bool:
    if hasattr(spec, "wrong"):  # a filter of times, which knows itself
        return bool(spec.wrong)
    if not any(spec.used_parameters.values()):
        return False
    return not any(choice["selected"] for choice in spec.choices(changelist))


def _list_passed_over(changelist: Any) -> Iterator[str]:
    """Yield the titles of filters that Django leaves out because they have but one choice, where that is not the one in the address."""
    used = {name for spec in changelist.filter_specs for name in spec.expected_parameters()}
    for name in changelist.filter_params:
        if name in used or not name.endswith(("__exact", "__isnull")):
            continue
        field = changelist.lookup_opts.get_field(name.partition("__")[0])
        value = row_number(str(changelist.filter_params[name][-1]))
        if field.is_relation and not (value and field.related_model._default_manager.filter(pk=value).exists()):
            yield str(field.verbose_name)


def describe_stale(titles: list[str]) -> str:
    return _now("This filter names what does not exist (any more): %(filters)s. Choose another one.") % {
        "filters": ", ".join(titles)
    }


def find_list(row: SavedFilter) -> str:
    """Return the address of the list of a filter; empty where there is no such list any more."""
    try:
        return reverse(f"admin:{row.list}")
    except NoReverseMatch:
        return ""


def find_by_query(request: HttpRequest, list_name: str) -> SavedFilter | None:
    """Return the saved filter that has the address of this request."""
    return list_filters(request.user, list_name).filter(query=normalise(request.GET)).first()
