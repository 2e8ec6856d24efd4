"""What `make messages` and its check find, in small rooms of their own; and that the catalogues are always those of their source."""

from __future__ import annotations

import gettext
import os
from typing import TYPE_CHECKING

import pytest

from bridge.runtime.conf.catalogues import compile_catalogues, locale_folders
from tests.messages.__main__ import look_through, main, update
from tests.messages.catalogue import Unreadable, path_of, read, write
from tests.messages.extract import Text, texts_of

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
from django.utils.translation import gettext as _, ngettext

print(_("Save"), _("Hello %(name)s"), ngettext("One message", "%(count)s messages", 2))
"""
PAGE = """{% load i18n %}
  {% if rows %}<p>{% translate "Nothing here" %}</p>{% endif %}
    {% blocktranslate trimmed count n=rows %}{{ n }} row{% plural %}{{ n }} rows{% endblocktranslate %} don't
"""
WHOLE = {
    Text("Save"): "保存",
    Text("Hello %(name)s"): "%(name)s，你好",
    Text("One message", "%(count)s messages"): "%(count)s 条消息",
    Text("Nothing here"): "没有内容",
    Text("%(n)s row", "%(n)s rows"): "%(n)s 行",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for room in ("bridge", "accounts", "openclaw", "channels_wechat", "templates"):
        (tmp_path / room).mkdir()
    (tmp_path / "bridge" / "code.py").write_text(CODE)
    (tmp_path / "templates" / "page.html").write_text(PAGE)
    return tmp_path


def store(root: Path, texts: dict[Text, str], room: str = "bridge") -> Path:
    path = path_of(room, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write(texts))
    return path


def faults(root: Path) -> list[str]:
    update_others(root)
    return look_through(root)[0]


def unfinished(root: Path) -> list[str]:
    update_others(root)
    return look_through(root)[1]


def update_others(root: Path) -> None:
    for room in ("accounts", "openclaw", "channels_wechat"):
        if not path_of(room, root).exists():
            store(root, {}, room)


def test_every_text_of_the_bridge_has_its_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    """The check of `make lint`, which fails when one is missing, stale or wrong."""
    assert (main(["--check"]), capsys.readouterr().out) == (0, "")


@pytest.mark.parametrize(
    "texts", [WHOLE | {Text("Save"): ""}, WHOLE | {Text("Gone"): "没了"}], ids=["missing", "stale"]
)
def test_what_is_missing_or_stale_fails_the_check(root: Path, texts: dict[Text, str]) -> None:
    update_others(root)
    store(root, WHOLE)
    assert main(["--check"], root) == 0
    store(root, texts)
    assert main(["--check"], root) == 1


def test_texts_of_code_and_pages_are_found(root: Path) -> None:
    assert set(texts_of("bridge", root)) == set(WHOLE)


def test_a_whole_file_has_no_fault(root: Path) -> None:
    store(root, WHOLE)
    update_others(root)
    assert look_through(root) == ([], [])


def test_an_update_keeps_what_is_translated_and_drops_what_nobody_uses(root: Path) -> None:
    store(root, {Text("Save"): "保存", Text("Gone"): "没了"})
    update(root)
    texts, _ = read(path_of("bridge", root))
    assert texts == {text: "保存" if text.singular == "Save" else "" for text in WHOLE}


def test_an_update_takes_the_chinese_of_another_room(root: Path) -> None:
    (root / "accounts" / "code.py").write_text('_("Save")')
    store(root, WHOLE)
    update(root)
    assert read(path_of("accounts", root))[0] == {Text("Save"): "保存"}


def test_an_update_mends_an_entry_that_lost_its_end_in_a_merge(root: Path) -> None:
    path = store(root, WHOLE)
    path.write_text(path.read_text().replace('msgstr "保存"\n', "").replace('msgstr[0] "%(count)s 条消息"\n', ""))
    with pytest.raises(Unreadable):
        read(path)
    update(root)
    texts, _ = read(path)
    assert texts == WHOLE | {Text("Save"): "", Text("One message", "%(count)s messages"): ""}


def test_what_has_no_chinese_is_listed(root: Path) -> None:
    store(root, WHOLE | {Text("Save"): "", Text("%(n)s row", "%(n)s rows"): ""})
    assert faults(root) == []
    assert unfinished(root) == [
        "bridge: no Chinese: '%(n)s row' (templates/page.html)",
        "bridge: no Chinese: 'Save' (bridge/code.py)",
    ]


@pytest.mark.parametrize(
    ("text", "chinese", "fault"),
    [
        (Text("Hello %(name)s"), "你好", "has not %(name)s"),
        (Text("Hello %(name)s"), "%(name)s %(who)s", "has %(who)s, which the English has not"),
        (Text("Hello %(name)s"), "%(name)", "has not %(name)s"),
        (Text("Save"), "保存 ", "begins or ends with a space"),
        (Text("Save"), "<b>保存</b>", "has other tags than the English"),
        (Text("Save"), "保存\n", "begins or ends with a line break"),
        (Text("One message", "%(count)s messages"), "一些消息", "has not %(count)s"),
    ],
)
def test_a_wrong_translation_is_a_fault(root: Path, text: Text, chinese: str, fault: str) -> None:
    store(root, WHOLE | {text: chinese})
    assert any(fault in line and text.singular in line for line in faults(root))


def test_stale_new_and_unsorted_entries_are_unfinished_and_fuzzy_ones_wrong(root: Path) -> None:
    path = store(
        root, {text: chinese for text, chinese in WHOLE.items() if text.singular != "Save"} | {Text("Gone"): "没了"}
    )
    lines = unfinished(root)
    assert any("no entry: 'Save' (bridge/code.py)" in line for line in lines)
    assert any("nobody uses this any more: 'Gone'" in line for line in lines)
    path.write_text(write(WHOLE).replace('msgid "Save"', '#, fuzzy\nmsgid "Save"'))
    assert any("fuzzy: 'Save'" in line for line in faults(root))
    first, *entries = write(WHOLE).split("\n\n")
    path.write_text("\n\n".join([first, *(entry.strip() for entry in reversed(entries))]) + "\n")
    assert any("not in order" in line for line in unfinished(root))


def test_one_text_has_one_translation(root: Path) -> None:
    (root / "accounts" / "code.py").write_text('_("Save")')
    store(root, WHOLE)
    store(root, {Text("Save"): "储存"}, "accounts")
    assert unfinished(root) == ["accounts: 'Save' is '储存' here and '保存' in bridge"]


def test_a_changed_file_is_compiled_anew(root: Path) -> None:
    path = store(root, WHOLE)
    compile_catalogues(locale_folders(root))
    assert translated(root, "Save") == "保存"
    made_at = path.with_suffix(".mo").stat().st_ino
    compile_catalogues(locale_folders(root))
    assert path.with_suffix(".mo").stat().st_ino == made_at
    store(root, WHOLE | {Text("Save"): "存盘"})
    os.utime(path, (1, 1))  # older than what was made from it: a checkout of an earlier version
    compile_catalogues(locale_folders(root))
    assert translated(root, "Save") == "存盘"
    assert sorted(file.name for file in path.parent.iterdir()) == ["django.mo", "django.po"]


def translated(root: Path, text: str) -> str:
    with path_of("bridge", root).with_suffix(".mo").open("rb") as file:
        return gettext.GNUTranslations(file).gettext(text)
