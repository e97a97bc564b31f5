"""Everything people read, in eight languages: complete, up to date, and the same in Python and in the browser."""

from __future__ import annotations

import importlib.util
import re

import pytest
from browser import PHONE, accessible, screenshot
from conftest import REPOSITORY
from playwright.sync_api import expect

from edge_agent.config import Config, Site
from edge_agent.demo import CLIPS
from edge_agent.languages import LANGUAGES, direction, negotiate, of_terminal, translation
from edge_agent.tools.notice import notice, page

TRANSLATED = sorted(LANGUAGES.keys() - {"en"})
#: Words that stand in a page of any language: names, units, and what is configured.
_NAMES = r"test-\w+/kiosk-1|test-\w+|kiosk-1|Kim|CSV|PIN"


@pytest.fixture(scope="module")
def translations():
    spec = importlib.util.spec_from_file_location("translations", REPOSITORY / "docs" / "translations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def collected(translations):
    return translations.collect()


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_is_missing_and_what_is_compiled_is_up_to_date(translations, collected, language):
    template, scripts = collected
    catalog = translations.updated(language, template)
    assert translations.missing(catalog) == []
    for path, data in translations.compiled(language, catalog, scripts).items():
        assert path.read_bytes() == data, f"{path.name}: run python docs/translations.py"


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_names_the_same_values(translations, collected, language):
    for message in translations.updated(language, collected[0]):
        if not message.id:
            continue
        originals = message.id if isinstance(message.id, tuple) else (message.id,)
        one, many = (set(re.findall(r"\{(\w+)\}", text)) for text in (originals[0], originals[-1]))
        found = [set(re.findall(r"\{(\w+)\}", form)) for form in translations.forms(message)]
        # "One kiosk", "two kiosks": a number that is a word needs no digits.
        assert all((one & many) - {"n"} <= names <= one | many for names in found), message.id
        assert found[-1] == many, message.id


def test_the_language_is_what_the_reader_likes_best_of_those_there_are():
    assert negotiate("de-AT,de;q=0.9,en;q=0.5") == "de"
    assert negotiate("nl,fr;q=0.3,zh-TW;q=0.7") == "zh"
    assert negotiate("en;q=0.1, ar;q=0.2") == "ar"
    for nothing in ("", "tlh", "de;q=0", "de;q=x", "*", ";;,,=", "de;q=-1"):
        assert negotiate(nothing) == "en", nothing
    assert of_terminal({"LANG": "ja_JP.UTF-8"}) == "ja"
    assert of_terminal({"LANG": "ja_JP.UTF-8", "LC_ALL": "fr_FR"}) == "fr"
    assert of_terminal({"LANG": "C.UTF-8"}) == of_terminal({}) == "en"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sign_speaks_it(language):
    config = Config(site=Site(jurisdiction="DE"))
    text, sheet = notice(config, language), page(config, [language])
    assert text.count("____") >= 3
    assert f'lang="{language}" dir="{direction(language)}"' in sheet
    if language != "en":
        assert "camera" not in text.lower()


def test_a_terminal_pager_speaks_the_terminals_language(edge_agent, listen, site, broker):
    import os

    pager = edge_agent(
        "pager", "--site", site, "--port", broker.port, env={**os.environ, "LC_ALL": "de_DE.UTF-8", "PYTHONUTF8": "1"}
    )
    assert translation("de").gettext("connected, waiting for pages") in next(iter(pager.stdout))


class TestPages:
    @pytest.fixture
    def pager(self, edge_agent, broker, site, tmp_path):
        process = edge_agent(
            "pager", "--web", "--listen", "127.0.0.1:0", "--port", broker.port, "--site", site, cwd=tmp_path
        )
        return next(line for line in process.stdout if "staff pager at" in line).split()[-1]

    @pytest.mark.parametrize("language", ["de", "ar"])
    def test_a_shift_in_the_browsers_language(self, language, pager, open_page, edge_agent, write_config):
        told = translation(language).gettext
        kim = open_page(pager, PHONE, locale={"de": "de-AT", "ar": "ar-EG"}[language])
        assert kim.evaluate("[document.documentElement.lang, document.documentElement.dir]") == [
            language,
            direction(language),
        ]
        kim.get_by_label(told("Your name, as colleagues see it")).fill("Kim")
        kim.get_by_role("button", name=told("Start shift")).click()
        expect(kim.locator("#link")).to_have_text(told("Connected as {name}").format(name="Kim"))
        camera = {"device": str(CLIPS["one"]), "loop": True}
        rules = [{"name": "angry-customer", "off_delay_s": 60, "cooldown_s": 600}]
        edge_agent("run", "--config", write_config(site={"place": "front desk"}, camera=camera, rules=rules))
        expect(kim.locator("article.paging")).to_contain_text(told("Please send assistance"))
        expect(kim.locator("article.paging")).to_contain_text(told("front desk"))
        screenshot(kim, f"pager-{language}")
        accessible(kim)
        if language == "ar":
            left = re.findall(r"[A-Za-z]{2,}", re.sub(_NAMES, "", kim.locator("body").inner_text()))
            assert left == [], "still in English"
        for width, height in ((390, 844), (320, 568), (844, 390), (1280, 800)):
            kim.set_viewport_size({"width": width, "height": height})
            assert kim.evaluate("document.documentElement.scrollWidth") <= width
            for button in kim.locator(".answers button").all():
                assert button.evaluate("(one) => one.scrollWidth <= one.clientWidth"), button.inner_text()
        kim.get_by_role("button", name=told("On my way")).click()
        expect(kim.locator("article")).to_contain_text(told("{by} is on the way").format(by="Kim"))

    def test_the_browser_counts_as_gettext_does(self, pager, open_page):
        one, many = "{watching} of {n} kiosk watching", "{watching} of {n} kiosks watching"
        for language in TRANSLATED:
            shown = open_page(pager, PHONE, locale=language).evaluate(
                """async ([one, many]) => {
                  const { ngettext } = await import("/static/text.js");
                  return [...Array(130).keys()].map((n) => ngettext(one, many, n, { watching: 0 }));
                }""",
                [one, many],
            )
            told = translation(language).ngettext
            assert shown == [told(one, many, n).format(n=n, watching=0) for n in range(130)], language

    def test_a_language_can_be_configured_for_all(self, edge_agent, broker, tmp_path, open_page):
        config = tmp_path / "staff.yaml"
        config.write_text(f"mqtt: {{port: {broker.port}}}\npager: {{language: fr, port: 0}}\n")
        process = edge_agent("pager", "--web", "--config", config, cwd=tmp_path)
        url = next(line for line in process.stdout if "staff pager at" in line).split()[-1]
        kim = open_page(url, PHONE, locale="de")
        expect(kim.get_by_role("button", name=translation("fr").gettext("Start shift"))).to_be_visible()
