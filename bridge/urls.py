"""Two doors: the admin for people, the callbacks for platforms."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from bridge import views

urlpatterns = [
    path("callbacks/<uuid:key>", views.callback, name="callback"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(url="/admin/"), name="home"),
]
