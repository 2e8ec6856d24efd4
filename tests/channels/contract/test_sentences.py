"""What people in WeChat read from the bridge itself."""

from __future__ import annotations

import re

import pytest
from django.utils.translation import override

from channels_wechat.contract.sentences import CHINESE, ENGLISH, SENTENCES, Sentences


@pytest.mark.parametrize("name", SENTENCES)
def test_every_sentence_is_chinese_by_default_and_has_an_english_text(name: str) -> None:
    assert Sentences().get(name) == Sentences(CHINESE).get(name) == SENTENCES[name].zh
    # The welcome has no default: without a text of the staff nothing is said.
    assert any("\u4e00" <= letter <= "\u9fff" for letter in SENTENCES[name].zh) == (name != "welcome")
    assert Sentences(ENGLISH).get(name) == SENTENCES[name].en
    assert SENTENCES[name].en.isascii()
    assert re.findall(r"{\w+}", SENTENCES[name].en) == re.findall(r"{\w+}", SENTENCES[name].zh)


def test_a_text_of_the_staff_goes_first_and_an_empty_one_is_the_default() -> None:
    own = Sentences(ENGLISH, {"failed": "出错了", "stopped": ""})
    assert (own.get("failed"), own.get("stopped")) == ("出错了", "Stopped.")


@pytest.mark.parametrize("text", ["{nobody}", "{0}", "{", "50 % {"])
def test_a_text_with_a_wrong_parameter_is_sent_as_it_is(text: str) -> None:
    assert Sentences(CHINESE, {"failed": text}).get("failed", count=3) == text


def test_an_unknown_sentence_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Sentences().get("nosuch")


@pytest.mark.parametrize("workers", ["en", "de", "zh-hans"])
@pytest.mark.parametrize(("language", "size"), [(CHINESE, "3\xa0字节"), (ENGLISH, "3\xa0bytes")])
def test_a_size_is_told_in_the_accounts_language_whatever_the_worker_speaks(
    language: str, size: str, workers: str
) -> None:
    with override(workers):
        assert Sentences(language).size(3) == size
