"""Fields that the accounts of WeCom share, and where in its console staff find what to enter."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

CORP_ID = RegexValidator(
    r"^w[a-z][A-Za-z0-9_-]{1,62}$", _("A corp ID begins with ww (older ones: wx), like ww1234567890abcdef.")
)
CORP_ID_PLACE = _(
    "WeCom console (企业微信管理后台) → My company (我的企业) → Company information (企业信息) → Company ID (企业ID)."
)
