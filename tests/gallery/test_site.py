"""The page is made whatever is given, from what is given alone."""

import os
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO, TextIOWrapper
from unittest.mock import patch

import pytest

from entrokit.cli import main
from entrokit.gallery import Headline, cards, write_gallery
from entrokit.gallery.html import gallery
from entrokit.gallery.site import render
from entrokit.papers import CATALOGUE, Finding, paper

from ..cli.command import called

HOSTILE = '<script>alert("x")</script> & \'"`</pre>'
VOID = {"meta", "link", "img", "input", "br"}


class Read(HTMLParser):
    """What a browser would make of a page: tags that are left open or closed twice are an error."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    return write_gallery(ours, folder)


def test_it_is_small_and_fetches_nothing_but_its_pictures(page, ours):
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) <= 2_000_000
    read = Read(text)
    assert [a for a in read.all("link") if a["href"] != "data:,"] == []
    assert all("src" not in a for a in read.all("script"))
    images = read.all("img")
    assert len(images) == len(ours)
    for image in images:
        assert image["loading"] == "lazy"
        assert image["alt"]
        assert (page.parent / image["src"]).read_text(encoding="utf-8").startswith("<svg")
    assert not re.search(r"url\(|@import|fetch\(", text)


def test_every_card_has_its_claim_its_measurement_its_verdict_and_its_lines(page, ours):
    text = page.read_text(encoding="utf-8")
    joined = "".join(Read(text).texts)
    for card in ours:
        finding = card.claims[0].finding
        for shown in (card.paper.title, card.paper.claim, finding.claim, finding.measured, finding.criterion):
            assert shown in joined, card.paper.slug
    articles = Read(text).all("article")
    assert [a["id"] for a in articles] == [card.paper.slug for card in ours]
    assert [a["data-verdict"] for a in articles] == [card.verdict for card in ours]


def test_without_a_script_every_card_is_there_and_nothing_that_needs_one(page):
    read = Read(page.read_text(encoding="utf-8"))
    assert all("hidden" not in a for a in read.all("article"))
    assert all("hidden" in a for a in read.all("form"))
    assert all("hidden" in a for a in read.all("button") if "class" in a)


def test_markup_in_a_claim_is_text(ours):
    card = ours[0]
    finding = Finding(HOSTILE, HOSTILE, HOSTILE, True, raw={"x": [1.0]})
    hostile = replace(
        card,
        paper=replace(card.paper, title=HOSTILE, claim=HOSTILE, family=HOSTILE),
        claims=(Headline(finding, HOSTILE, 2), Headline(finding, HOSTILE, 2)),
        errata=(HOSTILE,),
        missing=(HOSTILE,),
        chart=replace(card.chart, title=HOSTILE),
        source=f"https://example.org/{HOSTILE}",
    )
    shown = gallery([hostile], {card.paper.slug: f"img/{HOSTILE}"}, pages=HOSTILE)
    read = Read(shown)
    assert read.all("script") == []
    assert "".join(read.texts).count(HOSTILE) >= 10


def test_no_two_elements_share_an_id_and_labels_lead_to_titles():
    entry = paper("steer")
    papers = {slug: replace(entry, slug=slug, title="One title") for slug in ("a", "a-title", "title")}
    read = Read(render(cards({}, papers=papers), {}))
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids)) == 6
    assert {a["aria-labelledby"] for a in read.all("article")} <= {a["id"] for a in read.all("h2")}


def test_a_plug_in_links_to_no_page_of_ours_and_none_without_an_arxiv_id():
    """Whoever's experiment it runs."""
    entry = replace(paper("steer"), slug="plug-in", arxiv="")
    (card,) = cards({}, papers={"plug-in": entry})
    assert card.source == ""
    links = [a["href"] for a in Read(gallery([card], {}, pages="papers/{slug}/")).all("a")]
    assert links == ["#plug-in"]


def test_a_picture_has_its_own_height_before_it_is_there(page, ours):
    for image in Read(page.read_text(encoding="utf-8")).all("img"):
        drawn = re.search(r'height="(\d+)"', (page.parent / image["src"]).read_text(encoding="utf-8"))
        assert image["height"] == drawn[1], image["src"]


def test_a_missing_picture_and_a_missing_result_are_said():
    (card,) = cards({}, papers={"steer": paper("steer")})
    read = Read(render([card], {}))
    texts = "".join(read.texts)
    assert read.all("img") == []
    assert "no picture" in texts
    assert "not measured" in texts
    assert "entrokit reproduce steer --experiment" in texts


@pytest.mark.parametrize(
    ("minutes", "text"), [(0.5, "about 30 s"), (1, "about 1 min"), (1.5, "about 1.5 min"), (90, "about 90 min")]
)
def test_what_a_first_run_takes(minutes, text):
    (card,) = cards({}, papers={"steer": paper("steer")})
    assert f"first run {text}" in gallery([replace(card, minutes=minutes)], {})


def test_two_claims_are_folded_with_their_seeds_and_one_is_not(ours):
    finding = Finding("It falls.", "below 0", "-1", True, raw={"x": [1.0]})
    one, two = Headline(finding, "tabular", 7), Headline(replace(finding, passed=False), "pocket", 9)
    assert "<summary>All" not in gallery([replace(ours[0], claims=(one,))], {})
    text = "".join(Read(gallery([replace(ours[0], claims=(one, two))], {})).texts)
    assert "All 2 claims" in text
    assert "holds It falls. -1; tabular, 7 seeds" in text
    assert "failed It falls. -1; pocket, 9 seeds" in text


def test_a_paper_without_lines_has_its_command():
    entry = replace(paper("steer"), names=(), recipes=(), example="")
    assert ">entrokit reproduce steer</pre>" in gallery(cards({}, papers={"steer": entry}), {})


@pytest.mark.parametrize(("many", "marked"), [(200, False), (201, True)])
def test_very_many_cards_are_laid_out_as_they_come_into_view(ours, many, marked):
    assert ("gallery-many" in gallery([ours[0]] * many, {})) == marked


def test_no_paper_at_all_is_a_page():
    assert "0 of 0 papers" in "".join(Read(render([], {})).texts)


def test_ten_thousand_plug_ins_are_ten_thousand_cards():
    entry = paper("steer")
    papers = {f"plug-in-{i}": replace(entry, slug=f"plug-in-{i}", title=f"Plug-in {i}") for i in range(10_000)}
    made = cards({}, papers=papers)
    assert render(made, {}).count("<article") == 10_000


def test_the_command(tmp_path):
    out = tmp_path / "g"
    done = called("gallery", "--out", out)
    assert done.stdout.splitlines()[-1] == f"{len(CATALOGUE)} papers: {out / 'index.html'}"
    own = tmp_path / "results"
    own.mkdir()
    (own / "steer.json").write_text("{")
    (own / "unheard-of.json").write_text("{")
    done = called("gallery", "--out", out, "--results", own)
    assert "steer: Its results could not be read" in done.stdout
    assert "unheard-of: results of a paper that the catalogue lacks" in done.stdout
    done = called("gallery", "--out", out, "--results", tmp_path / "nowhere", check=False)
    assert done.returncode == 1
    assert "no such folder" in done.stderr


def test_names_of_folders_are_told_as_they_can_be_and_drive_no_terminal(tmp_path):
    own, out = tmp_path / os.fsdecode(b"bad\xff"), tmp_path / "ä ö"
    own.mkdir()
    (own / "steer.json").write_text("{")
    (own / "\x1b[31mred.json").write_text("{")
    done = called("gallery", "--out", out, "--results", own)
    assert "\x1b" not in done.stdout
    assert "·[31mred: results of a paper" in done.stdout
    assert done.stdout.splitlines()[-1] == f"{len(CATALOGUE)} papers: {out / 'index.html'}"
    assert "bad?/steer.json: cut off or no JSON" in (out / "index.html").read_text(encoding="utf-8")


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "img").write_text("")
    done = called("gallery", "--out", tmp_path, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'img'}: a file is in the way of a folder" in done.stderr


def test_output_that_is_not_utf_8_ends_no_command(tmp_path):
    out = TextIOWrapper(BytesIO(), encoding="ascii")
    argv = patch.object(sys, "argv", ["entrokit", "gallery", "--out", str(tmp_path / "ä")])
    with argv, redirect_stdout(out), pytest.raises(SystemExit) as end:
        main()
    out.flush()
    assert end.value.code in (0, None)
    assert rb"\xe4/index.html" in out.buffer.getvalue().replace(b"\n", b"")
