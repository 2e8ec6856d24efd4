"""What Django serves: the admin for people, the API for scripts. Callbacks and probes never come here: `bridge.asgi`."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from bridge.admin import dashboard, palette, reports, unknown_codes
from bridge.admin.language import choose_language
from bridge.api.errors import not_found

urlpatterns = [
    path("admin/part/<str:part>/", admin.site.admin_view(dashboard.show_part), name="dashboard_part"),
    path("admin/reports/", admin.site.admin_view(reports.show_reports), name="reports"),
    path("admin/unknown-codes/", admin.site.admin_view(unknown_codes.show_unknown_codes), name="unknown_codes"),
    path("admin/language/", choose_language, name="set_language"),
    path("admin/search/", admin.site.admin_view(palette.search), name="palette"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("bridge.api.urls")),
    re_path("^api/", csrf_exempt(not_found)),
    path("", RedirectView.as_view(url="/admin/"), name="home"),
]

handler400 = "bridge.api.errors.bad_request"
handler500 = "bridge.api.errors.server_error"
