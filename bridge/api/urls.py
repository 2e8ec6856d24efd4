"""Paths of the API, version 1."""

from __future__ import annotations

from django.contrib.admin.views.decorators import staff_member_required
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from bridge.api.errors import not_found

router = SimpleRouter()

urlpatterns = [
    *router.urls,
    path("schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs/", staff_member_required(SpectacularSwaggerSplitView.as_view(url_name="schema")), name="docs"),
    re_path("", csrf_exempt(not_found)),
]
