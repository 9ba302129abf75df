"""Charts as SVG: what is drawn is where the numbers are, and nothing of a chart's text is markup."""

import math
import xml.etree.ElementTree as ET

import pytest

from entrokit.report.chart import Chart, Series
from entrokit.report.svg import WIDTH, height_of, svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*series, **more):
    return ET.fromstring(svg(Chart("a title", "steps", "nats", series, **more)))


def texts(root):
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def circles(root, radius="3.5"):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle") if c.get("r") == radius]


def test_marks_stand_in_proportion_and_upwards():
    (a, b, c) = circles(drawn(Series("s", [0, 1, 4], [2.0, 3.0, 6.0], marks=True)))
    assert (b[0] - a[0]) / (c[0] - a[0]) == pytest.approx(1 / 4, abs=1e-3)
    assert (a[1] - b[1]) / (a[1] - c[1]) == pytest.approx(1 / 4, abs=1e-3)
    assert c[1] < a[1], "a larger value is higher up"


def test_title_labels_legend_and_what_it_is_for_those_who_hear_it():
    root = drawn(Series("grpo", [0, 1], [0.0, 1.0]), Series("steer", [0, 1], [1.0, 0.5]))
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "a title"
    assert root.find(f"{SVG}desc").text == "nats against steps: grpo, steer"
    assert {"a title", "steps", "nats", "grpo", "steer"} <= set(texts(root))


def test_ticks_are_round_numbers_within_the_axes():
    labels = texts(drawn(Series("s", [0, 60], [0.0, 0.3])))
    assert {"0", "20", "40", "60", "0.1", "0.2", "0.3"} <= set(labels)


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_breaks_the_line_and_moves_no_axis(hole):
    root = drawn(Series("s", [0, 1, 2, 3, 4], [1.0, 2.0, hole, 2.0, 1.0]))
    (line,) = (p.get("d") for p in root.iter(f"{SVG}path") if p.get("stroke-width") == "2")
    assert line.count("M") == 2
    assert line.count("L") == 2
    assert "nan" not in line + str(texts(root))
    assert "inf" not in line


def test_intervals_reach_from_low_to_high():
    root = drawn(Series("s", [0, 1], [1.0, 2.0], marks=True, low=[0.0, 2.0], high=[4.0, 2.0]))
    first, second = (p.get("d") for p in root.iter(f"{SVG}path") if p.get("stroke-width") == "1.5")
    low, high = (float(v) for v in first.split(" ", 1)[1].split("M")[0].split("V"))
    at = circles(root)[0][1]
    assert (low - at) / (low - high) == pytest.approx(1 / 4, abs=2e-3)
    same = [float(v) for v in second.split(" ", 1)[1].split("M")[0].split("V")]
    assert same[0] == same[1] == circles(root)[1][1]


def test_categories_keep_their_order_and_numbers_in_words_stay_words():
    root = drawn(Series("s", ["1e-05", "b"], [1.0, 2.0], marks=True), Series("t", ["c", "b"], [1.0, 2.0], marks=True))
    places = [x for x, _ in circles(root)]
    assert places[0] < places[1] == places[3] < places[2]
    assert {"1e-05", "b", "c"} <= set(texts(root))


def test_text_is_escaped_and_control_characters_are_dropped():
    root = drawn(Series('<script>"&\x00', [0], [0.0], marks=True, labels=["<b>"], hints=["a & b"]))
    assert '<script>"&' in texts(root)
    assert "<b>" in texts(root)
    assert next(c for c in root.iter(f"{SVG}circle")).find(f"{SVG}title").text == "a & b"


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0], [0.0], [math.nan], [1e300, 2e300], [1e-300, 0.0]])
def test_few_equal_or_extreme_numbers_are_drawn(values):
    root = drawn(Series("s", list(range(len(values))), values), x_line=0.5, y_line=1.0)
    for x, y in circles(root):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= float(root.get("height"))


def test_a_long_legend_goes_on_in_further_rows():
    few, many = (drawn(*(Series(f"a recipe of {i}", [0], [i]) for i in range(n))) for n in (1, 12))
    assert float(many.get("height")) > float(few.get("height"))
    ends = [float(t.get("x")) + 6 * len(t.text) for t in many.iter(f"{SVG}text") if (t.text or "").startswith("a rec")]
    assert len(ends) == 12
    assert max(ends) <= WIDTH


def test_the_same_bytes_every_time():
    chart = Chart("t", "x", "y", (Series("s", [0, 1], [0.1, 0.2]),))
    assert svg(chart) == svg(chart)


@pytest.mark.parametrize("huge", [1e308, -1e308, 10**400], ids=["float", "negative", "integer"])
@pytest.mark.parametrize("axis", ["x", "y", "line"])
def test_numbers_at_the_end_of_floats_are_left_out(huge, axis):
    x, y = ([huge, 1.0, 2.0], [1.0, 1.0, 2.0]) if axis == "x" else ([0.0, 1.0, 2.0], [huge, 1.0, 2.0])
    if axis == "line":
        y[0] = 1.0
    root = drawn(Series("s", x, y, marks=True), y_line=huge if axis == "line" else None)
    assert len(circles(root)) == (3 if axis == "line" else 2)
    assert "inf" not in ET.tostring(root, encoding="unicode")


def test_what_a_file_has_as_null_is_no_place_on_either_axis():
    assert len(circles(drawn(Series("s", [None, 1.0, 2.0], [1.0, None, 2.0], marks=True)))) == 1
    root = drawn(Series("s", [None, "a", "b"], [1.0, 2.0, 3.0], marks=True), x_line=3.0)
    assert len(circles(root)) == 2
    assert {"a", "b"} <= set(texts(root))
    assert "None" not in texts(root)


def test_of_very_many_points_those_of_one_pixel_are_drawn_once_and_names_have_room():
    many = 20_000
    named = [str(i) for i in range(many)]
    root = drawn(Series("s", named, [float(i % 3) for i in range(many)], marks=True))
    assert len(circles(root)) < 20_000
    assert len(ET.tostring(root)) < 1_500_000
    assert 20 <= len(set(named) & set(texts(root))) <= 30
    hinted = drawn(Series("s", [1, 1], [2.0, 2.0], marks=True, hints=["one", "two"]))
    assert len(circles(hinted)) == 2


def test_characters_that_xml_has_not_are_left_out():
    assert "a title" in texts(ET.fromstring(svg(Chart("a\x00 ti\ufffetle\uffff\x1b", "x", "y", ()))))


@pytest.mark.parametrize("x", [[1, 2], ["a category with a long name", "and another one that is long", "a third", "b"]])
def test_its_height_is_told(x):
    chart = Chart("t", "x", "y", (Series("s" * 60, x, [1.0] * len(x)), Series("r" * 60, x, [1.0] * len(x))))
    assert ET.fromstring(svg(chart)).get("height") == str(height_of(chart))
