"""`make messages`: the sentences of the code and the pages, and their Chinese in `<room>/locale/zh_Hans/LC_MESSAGES/django.po`."""
