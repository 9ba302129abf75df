"""The gallery in a real browser: Debian's Chromium, driven by Playwright, looked over by axe."""

import re
import shutil
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from entrokit.gallery import cards, gathered, write_gallery
from entrokit.papers import paper
from entrokit.papers.results import MEASURED

from ..plugin import ROOT

BROWSER = shutil.which("chromium")
if BROWSER is None:
    pytest.skip("needs Chromium: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make test-browser")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: make test-browser")

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 700}
# Sandboxes and shared memory are what containers lack.
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url(ours, tmp_path_factory):
    return write_gallery(ours, tmp_path_factory.mktemp("gallery")).as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def page(request, browser):
    """A page whose console stays silent and which fetches nothing but files."""
    context = browser.new_context(viewport=request.param)
    page, said, fetched = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: fetched.append(asked.url))
    yield page
    context.close()
    assert said == []
    assert [u for u in fetched if not u.startswith(("file:", "data:"))] == []


def shown(page):
    return page.locator(".gallery-card:not([hidden])").evaluate_all("all => all.map(one => one.id)")


def test_searching_as_one_types(page, url, ours):
    page.goto(url)
    assert shown(page) == [card.paper.slug for card in ours]
    page.get_by_role("searchbox").press_sequentially("covarian")
    assert "entropy-mechanism" in shown(page)
    assert len(shown(page)) < len(ours) / 2
    assert page.get_by_role("status").inner_text() == f"{len(shown(page))} of {len(ours)} papers"
    page.get_by_role("searchbox").fill("no paper says this")
    assert shown(page) == []
    page.get_by_role("button", name="Show every paper").click()
    assert len(shown(page)) == len(ours)
    assert page.get_by_role("searchbox").input_value() == ""


def test_a_search_reads_hyphens_case_and_accents_as_a_reader_types_them(page, url):
    page.goto(url)
    for words in ("CLIP COV", "clip-cov", "2505.22617"):
        page.get_by_role("searchbox").fill(words)
        assert "entropy-mechanism" in shown(page), words


@pytest.mark.parametrize(
    ("label", "attribute"),
    [("Wing", "wing"), ("Verdict", "verdict"), ("Runs under", "engines"), ("First run takes", "cost")],
)
def test_filtering(page, url, ours, label, attribute):
    page.goto(url)
    select = page.get_by_role("combobox", name=label)
    for value in select.locator("option").evaluate_all("all => all.map(one => one.value)")[1:]:
        select.select_option(value)
        expected = [c.paper.slug for c in ours if value in (getattr(c, attribute), *c.engines)]
        assert shown(page) == expected, value
    select.select_option("")
    assert len(shown(page)) == len(ours)


def test_filters_and_words_go_together_and_can_be_linked_to(page, url, ours):
    page.goto(url)
    page.get_by_role("combobox", name="Wing").select_option("rlvr")
    page.get_by_role("combobox", name="Runs under").select_option("tinker")
    page.get_by_role("searchbox").fill("grpo")
    found = shown(page)
    assert 0 < len(found) < len(ours)
    link = page.url
    assert re.search(r"\?q=grpo&wing=rlvr&engine=tinker$", link)
    page.goto("about:blank")
    page.goto(link)
    assert shown(page) == found
    page.goto(f"{url}?wing=no-such-wing")
    assert len(shown(page)) == len(ours)


def test_a_link_to_a_card_shows_it_whatever_was_searched_for(page, url):
    page.goto(f"{url}#steer")
    card = page.locator("#steer")
    sync_api.expect(card).to_be_in_viewport()
    page.get_by_role("combobox", name="Wing").select_option("physics")
    assert card.is_hidden()
    page.evaluate("location.hash = '#no-card'; location.hash = '#steer'")
    sync_api.expect(card).to_be_in_viewport()
    page.goto("about:blank")
    page.goto(f"{url}?wing=physics#steer")
    sync_api.expect(card).to_be_in_viewport()


@pytest.mark.parametrize("hash_", ["#%", "#%E0%A4%A", "#no-such-paper", "#steer_title"])
def test_a_link_that_leads_to_no_card_shows_all(page, url, ours, hash_):
    page.goto(f"{url}{hash_}")
    assert len(shown(page)) == len(ours)


def test_markup_in_a_link_is_text(page, url):
    page.goto(f"{url}?q=<script>alert(1)</script>&wing=<b>")
    assert page.get_by_role("searchbox").input_value() == "<script>alert(1)</script>"
    assert shown(page) == []


def test_back_and_forward_lead_to_earlier_searches(page, url):
    page.goto(url)
    search = page.get_by_role("searchbox")
    search.fill("steer")
    first = shown(page)
    page.locator("#steer h2 a").click()
    search.fill("entropy")
    second = shown(page)
    page.go_back()
    assert (search.input_value(), shown(page)) == ("steer", first)
    page.go_forward()
    assert (search.input_value(), shown(page)) == ("entropy", second)
    assert first != second


def test_where_addresses_may_not_change_a_search_stays(page, url):
    page.add_init_script("history.replaceState = () => { throw new DOMException('no', 'SecurityError'); }")
    page.goto(url)
    page.get_by_role("searchbox").fill("steer")
    found = shown(page)
    page.locator("#steer h2 a").click()
    page.wait_for_function("location.hash === '#steer'")
    assert page.get_by_role("searchbox").input_value() == "steer"
    assert shown(page) == found


FORBID = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"


@pytest.mark.parametrize("page", [WIDE], indirect=True, ids=["wide"])
@pytest.mark.parametrize("before", [FORBID, "localStorage.setItem('entrokit-theme', 'auto')"], ids=["forbidden", "odd"])
def test_the_theme_is_the_system_s_where_none_can_be_kept(page, url, before):
    page.add_init_script(before)
    page.emulate_media(color_scheme="dark")
    page.goto(url)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    button = page.get_by_role("button", name="Dark")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


@pytest.mark.parametrize("page", [WIDE], indirect=True, ids=["wide"])
def test_a_dark_page_is_printed_light_and_without_what_is_to_be_pressed(page, url):
    page.emulate_media(color_scheme="dark")
    page.goto(url)
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(233, 233, 240)"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(35, 35, 43)"
    assert page.locator("button:visible, form:visible").count() == 0
    assert page.locator(".gallery-card img").first.evaluate("one => getComputedStyle(one).filter") == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_a_script_all_is_there_and_nothing_that_needs_one(browser, url, ours, scheme):
    context = browser.new_context(java_script_enabled=False, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    assert page.get_by_role("article").count() == len(ours)
    assert page.locator("button:visible, form:visible").count() == 0
    context.close()


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Cards of plug-ins whose texts are of every unkind sort."""
    long, hebrew, steer = "x" * 1000, "עברית \u202eoverride (1) abc", paper("steer")
    entries = [
        replace(steer, slug="long", title=long, claim=long, family=long, arxiv=long),
        replace(steer, slug="lines", example=f"x = '{long}'", recipes=(long,), symptoms=(long,)),
        replace(steer, slug="names", names=(long,), recipes=(), example="", arxiv=""),
        replace(steer, slug="constructor", title=hebrew, claim=hebrew, family=hebrew, symptoms=(hebrew,)),
        replace(steer, slug="q", family="a|b: c"),
        replace(steer, slug="form", family='"><b>: c'),
    ]
    measured = gathered(MEASURED)[0]["steer"]
    made = cards({"long": replace(measured, slug="long")}, papers={entry.slug: entry for entry in entries})
    return write_gallery(made, tmp_path_factory.mktemp("odd")).as_uri(), made


def test_unkind_texts_stay_in_their_cards_and_are_found(page, odd):
    url, made = odd
    page.goto(url)
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    over = "one => one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1"
    wide = page.locator(".gallery *:not(pre, pre *)").evaluate_all(f"all => all.filter({over}).map(one => one.tagName)")
    assert wide == []
    assert page.locator("#constructor h2").evaluate("one => getComputedStyle(one).direction") == "rtl"
    select = page.get_by_role("combobox", name="Wing")
    for wing in select.locator("option").evaluate_all("all => all.map(one => one.value)")[1:]:
        select.select_option(wing)
        assert shown(page) == [card.paper.slug for card in made if card.wing == wing]
    select.select_option("")
    found = axe.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("page", [WIDE], indirect=True, ids=["wide"])
def test_lines_can_be_copied(page, url):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(url)
    button = page.locator("#steer .gallery-copy")
    button.click()
    sync_api.expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == paper("steer").lines


@pytest.mark.parametrize("page", [WIDE], indirect=True, ids=["wide"])
def test_without_a_clipboard_there_is_no_button_for_it(page, url):
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.goto(url)
    assert page.locator(".gallery-copy:visible").count() == 0


def test_a_slash_is_one_where_one_types(page, url):
    page.goto(url)
    page.keyboard.press("/")
    page.keyboard.type("a/b")
    assert page.get_by_role("searchbox").input_value() == "a/b"


def test_showing_every_paper_drops_filters_too_and_leads_back_to_the_search(page, url, ours):
    page.goto(f"{url}?q=no+paper+says+this&wing=rlvr")
    page.get_by_role("button", name="Show every paper").click()
    assert len(shown(page)) == len(ours)
    assert page.evaluate("document.activeElement.name") == "q"
    assert page.url == url


@pytest.mark.parametrize("page", [WIDE], indirect=True, ids=["wide"])
def test_accents_of_a_reader_s_keyboard_find_what_has_none(page, url):
    page.goto(url)
    page.get_by_role("searchbox").fill("éntropý cöllapses")
    assert "steer" in shown(page)


def test_by_keyboard_alone(page, url):
    page.goto(url)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("steer")
    assert "steer" in shown(page)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#steer summary') !== null"):
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")


def test_pictures_are_fetched_when_they_come_into_view(page, url, ours):
    loaded = "all => all.filter(one => one.complete && one.naturalWidth > 0).length"
    page.goto(url)
    page.wait_for_load_state("networkidle")
    images = page.locator(".gallery-card img")
    assert images.evaluate_all(loaded) < len(ours)
    page.locator(f"#{ours[-1].paper.slug}").scroll_into_view_if_needed()
    last = page.locator(f"#{ours[-1].paper.slug} img")
    last.evaluate("one => one.decode()")
    assert last.evaluate("one => one.naturalWidth") > 0


def test_nothing_is_wider_than_the_window(page, url):
    page.goto(url)
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    wide = ".gallery-card *:not(pre, pre *)"
    over = "one => one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1"
    cut = (
        "one => { const r = document.createRange(); r.selectNodeContents(one); return r.getClientRects().length > 1; }"
    )
    assert page.locator("dt").evaluate_all(f"all => all.filter({cut}).length") == 0, "labels stay in one piece"
    assert page.locator(wide).evaluate_all(f"all => all.filter({over}).map(one => one.outerHTML)") == []


@pytest.mark.parametrize(
    ("page", "theme"), [(WIDE, "light"), (PHONE, "dark")], indirect=["page"], ids=["wide", "phone"]
)
def test_contrast_labels_and_roles(page, url, theme):
    """Every rule of WCAG 2 A and AA that a machine can check, of either theme and either size."""
    page.goto(url)
    if page.evaluate("document.documentElement.dataset.theme") != theme:
        page.get_by_role("button", name="Dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if theme == "light" else "rgb(22, 22, 28)"
    )
    page.locator("details").evaluate_all("all => all.slice(0, 6).forEach(one => one.open = true)")
    found = axe.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    assert found.violations_count == 0, found.generate_report()
    assert len(found.response["passes"]) > 15, "it has looked"


def test_the_theme_is_kept(page, url):
    page.goto(url)
    page.get_by_role("button", name="Dark").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"


@pytest.fixture(scope="module")
def site():
    """The docs site, where it is built (`make docs`), behind a server, as readers find it."""
    folder = ROOT / "build" / "site"
    if not (folder / "index.html").exists():
        pytest.skip("the site is not built: make docs")
    handler = partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_site_s_front_is_the_gallery(browser, site, ours, size):
    page, said = browser.new_page(viewport=size), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    missing = []
    page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
    page.goto(site)
    assert shown(page) == [card.paper.slug for card in ours]
    page.get_by_placeholder("entropy collapse").press_sequentially("covarian")
    assert "entropy-mechanism" in shown(page)
    page.get_by_placeholder("entropy collapse").fill("")
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(over) == 0
    for link in page.locator("#steer .gallery-links a").evaluate_all("all => all.map(one => one.href)"):
        if link.startswith(site):
            assert page.request.get(link).ok, link
    page.locator("#steer").scroll_into_view_if_needed()
    page.locator("#steer img").evaluate("one => one.decode()")
    for theme in ("light", "dark"):
        found = axe.Axe().run(page, context=".gallery", options={"runOnly": ["wcag2a", "wcag2aa"]})
        assert found.violations_count == 0, found.generate_report()
        if theme == "light":
            page.locator("[data-md-component=palette] label:visible").click()
            sync_api.expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
    page.close()
    assert said == []
    assert missing == []


def test_a_paper_is_found_by_what_ails_a_run(page, url):
    page.goto(url)
    page.get_by_role("searchbox").fill("entropy collapses")
    assert {"entropy-mechanism", "steer"} <= set(shown(page))
    page.get_by_role("searchbox").fill("too long")
    assert {"pear", "ares"} <= set(shown(page))
