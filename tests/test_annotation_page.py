"""The page on which people label: what it holds, and what a labeller can do with it in a browser."""

import base64
import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from defuse.annotators.people import read_votes
from defuse.data.class_names import TRAFFIC_SIGNS
from defuse.method.annotation import ABSTAIN, NO_VOTE, SEVERAL
from defuse.method.shown import NOT_RECOGNISABLE, SEVERAL_CLASSES, Shown
from defuse.showing.annotation_page import annotation_page, answer_keys

SIZES = [(1280, "light"), (390, "dark")]
ANIMALS = (
    "ape",
    "bee",
    "cat",
    "dog",
    "eel",
    "fox",
    "gnu",
    "hen",
    "ibis",
    "jay",
    "kiwi",
    "lion",
    "mole",
    "Müller's asp",
)


def made(class_names, counts=(3, 1, 5), shape=(6, 8, 3)):
    """Regions 4, 7, 10, ... of random images, `counts` of each."""
    draws = np.random.default_rng(0)
    images = [draws.integers(0, 256, (count, *shape), np.uint8) for count in counts]
    return Shown(4 + 3 * np.arange(len(counts)), images, tuple(class_names))


class Labeller:
    """Someone at the page, in a browser of their own unless `context` is given; complaints of the page are kept."""

    def __init__(self, context, path):
        self.errors = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.errors.extend([request.url][: request.url.startswith("http")]))
        self.page.goto(path.as_uri())

    def begin(self, name):
        self.page.get_by_label("Your name").fill(name)
        self.press("Enter")
        return self

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        return self

    @property
    def where(self):
        heading = "#labelling h2#where, #overview h1"
        return next(found.inner_text() for found in self.page.locator(heading).all() if found.is_visible())

    @property
    def said(self):
        return self.page.locator("#said").inner_text()

    @property
    def chosen(self):
        return self.page.locator("[aria-pressed=true] span").all_inner_texts()

    @property
    def offered(self):
        return [tile.locator("span").inner_text() for tile in self.page.locator("#classes .answer:visible").all()]

    def save(self, folder):
        with self.page.expect_download() as download:
            self.press("Control+s")
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path


@pytest.fixture
def open_page(browser, tmp_path):
    """Function that opens a page of what is shown; it fails the test if the page complained or asked the network."""
    opened = []

    def open_one(shown, context=None, **settings):
        path = tmp_path / "label.html"
        path.write_text(annotation_page(shown, "A run", **settings), encoding="utf-8")
        context = context or browser.new_context(viewport={"width": 1280, "height": 900})
        opened.append(Labeller(context, path))
        return opened[-1]

    yield open_one
    assert [labeller.errors for labeller in opened] == [[]] * len(opened)
    for context in {labeller.page.context for labeller in opened}:
        context.close()


def answers(path):
    """What a file of votes says: run, annotator, image and, by region, label."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    about = {(row["run"], row["annotator"], row["image"]) for row in rows}
    return about, {int(row["region"]): row["label"] for row in rows}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_page_holds_the_images_as_they_are_shown_and_nothing_that_gives_an_answer_away(channels):
    shown = made("abc", shape=(6, 8, channels))
    text = annotation_page(shown, "A run")
    content = json.loads(re.search(r'<script type="application/json" id="content">(.*)</script>', text).group(1))
    assert set(content) == {"run", "regions", "class_keys", "other_keys"} and content["run"] == shown.run
    assert {key for region in content["regions"] for key in region} == {"number", "images", "shape"}
    for number, images, region in zip(shown.numbers, shown.images, content["regions"], strict=True):
        assert region["number"] == number and region["shape"] == 8 / 6
        for image, uri in zip(images, region["images"], strict=True):
            decoded = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
            assert np.array_equal(decoded, np.broadcast_to(image, (6, 8, 3)))
    assert "://" not in text and text == annotation_page(shown, "A run")


@pytest.mark.parametrize(
    ("class_names", "keys"),
    [
        ("0123456789", "0123456789"),
        (("2 (two)", "7 (seven)"), "27"),
        (("cat", "dog"), "1234567890"),
        (("size 1", "size 2"), "1234567890"),
        (("1", "1 and a half"), "1234567890"),
        (ANIMALS, "1234567890"),
        (TRAFFIC_SIGNS, ""),
        ([f"{number}" for number in range(11)], ""),
    ],
)
def test_a_class_s_key_is_its_own_digit_or_its_place_and_digits_search_where_names_hold_them(class_names, keys):
    assert answer_keys(class_names) == list(keys)


def test_pixels_stay_squares_unless_they_are_asked_to_be_smoothed():
    shown = made("ab")
    assert "image-rendering: pixelated; }\n.answers" in annotation_page(shown, "A run")
    assert ".images img, .overview img" not in annotation_page(shown, "A run", pixels=False)


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize("class_names", [("left", "right"), "0123456789", TRAFFIC_SIGNS], ids=["2", "10", "43"])
def test_a_labeller_gets_from_name_to_file_by_keys_alone(browser, open_page, tmp_path, class_names, width, scheme):
    shown = made(class_names, counts=(1, 10, 40))
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    anna = open_page(shown, context)
    ground = anna.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    anna.press(*"anna", "Enter")
    second = ["1", "Enter"] if len(class_names) > 10 else ["1"]
    first_hit = {2: "left", 10: "1", 43: "limit 100"}[len(class_names)]
    for number, (keys, label) in enumerate([("-", NOT_RECOGNISABLE), (second, first_hit), ("+", SEVERAL_CLASSES)]):
        assert anna.where == f"Group {number + 1} of 3"
        images = anna.page.locator(".images img")
        assert images.count() == len(shown.images[number])
        boxes = [image.bounding_box() for image in images.all()]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width and box["width"] >= 78 for box in boxes)
        assert anna.page.evaluate("document.documentElement.scrollWidth") == width
        anna.press(*keys)
        assert anna.said == f"✓ Group {number + 1}: {label}" if number < 2 else True
    assert anna.where == "All 3 groups have an answer. Thank you!"
    assert anna.page.evaluate("document.documentElement.scrollWidth") == width
    path = anna.save(tmp_path)
    assert path.name == "votes-anna.csv"
    expected = {4: NOT_RECOGNISABLE, 7: first_hit, 10: SEVERAL_CLASSES}
    assert answers(path) == ({(shown.run, "anna", "")}, expected)
    assert anna.page.get_by_text("Saved 3 of 3 answers as votes-anna.csv").is_visible()


def test_letters_search_and_enter_takes_the_first_hit(open_page):
    labeller = open_page(made(ANIMALS, counts=[1] * 6)).begin("anna")
    assert labeller.offered == list(ANIMALS)
    labeller.press("o")
    assert labeller.offered == ["dog", "fox", "lion", "mole"]
    labeller.press("2")
    assert labeller.said == "✓ Group 1: fox" and labeller.offered == list(ANIMALS)
    labeller.press("n", "e", "e", "Enter")
    assert labeller.page.get_by_text("No class is called that.").is_visible() and labeller.where == "Group 2 of 6"
    labeller.press("Escape")
    assert labeller.offered == list(ANIMALS) and labeller.where == "Group 2 of 6"
    labeller.press("g")
    assert labeller.offered == ["gnu", "dog"]  # what begins with it comes first
    labeller.press("ArrowDown", "ArrowDown", "Enter")
    assert labeller.said == "✓ Group 2: dog"
    labeller.press(*"muller's", "Enter")
    assert labeller.said == "✓ Group 3: Müller's asp"
    labeller.press("Enter", " ")
    assert labeller.where == "Group 4 of 6"  # nothing is typed: nothing is meant


def test_digits_search_where_names_hold_digits(open_page):
    labeller = open_page(made(TRAFFIC_SIGNS)).begin("anna").press(*"t 5")
    assert labeller.offered == ["limit 50"]
    assert labeller.press("Enter").said == "✓ Group 1: limit 50"


def test_an_answer_can_be_changed_taken_back_and_left_for_later(open_page, tmp_path):
    labeller = open_page(made("0123")).begin("anna").press("3", "ArrowRight", "1")
    assert labeller.where == "Group 2 of 3" and labeller.chosen == []  # the one that was skipped
    labeller.press("ArrowLeft")
    assert labeller.where == "Group 1 of 3" and labeller.chosen == ["3"]
    labeller.press("0", "Escape")
    assert labeller.where == "2 of 3 groups have an answer"
    labeller.page.get_by_role("button", name="3: 1", exact=True).click()
    labeller.press("+", "Escape")
    assert answers(labeller.save(tmp_path))[1] == {4: "0", 10: SEVERAL_CLASSES}
    labeller.press("Escape")
    assert labeller.where == "Group 2 of 3"
    labeller.press("Backspace")
    assert labeller.said == "Group 3: answer taken back" and labeller.chosen == ["1"]
    labeller.press("Backspace", "Backspace")
    assert labeller.where == "Group 3 of 3" and labeller.chosen == []
    labeller.press("Backspace", "Backspace")
    assert labeller.where == "Group 1 of 3" and labeller.page.get_by_role("button", name="Undo").is_disabled()
    assert answers(labeller.save(tmp_path)) == (set(), {})


def test_a_key_held_down_answers_one_group(open_page):
    labeller = open_page(made("0123")).begin("anna")
    for _ in range(3):  # without a release between them, as a keyboard repeats
        labeller.page.keyboard.down("2")
    labeller.page.keyboard.up("2")
    assert labeller.where == "Group 2 of 3"
    labeller.page.get_by_role("button", name="1", exact=True).focus()
    for _ in range(3):
        labeller.page.keyboard.down("Enter")
    labeller.page.keyboard.up("Enter")
    assert labeller.where == "Group 3 of 3"
    labeller.page.get_by_role("button", name="Undo").focus()
    assert labeller.press("Enter", "Enter").where == "Group 1 of 3"  # it keeps the focus


def test_a_closed_page_goes_on_where_it_was_and_keeps_two_labellers_apart(open_page, tmp_path):
    shown = made("0123")
    anna = open_page(shown).begin("anna").press("3", "2")
    anna.page.close()
    context = anna.page.context
    ben = open_page(shown, context)
    ben.begin(" Ben  Lee ").press("1")
    assert answers(ben.save(tmp_path)) == ({(shown.run, "Ben-Lee", "")}, {4: "1"})
    ben.press("Escape").page.get_by_role("button", name="Another labeller").click()
    ben.page.get_by_role("button", name="Go on as anna (2 of 3)").click()
    assert ben.where == "Group 3 of 3"
    again = open_page(shown, context).begin("anna").press("Backspace")
    assert again.where == "Group 2 of 3" and again.chosen == []
    assert ben.page.locator("[data-show=answered]").inner_text() == "1 of 3 answered"  # a tab tells the other
    assert answers(again.save(tmp_path)) == ({(shown.run, "anna", "")}, {4: "3"})
    other = open_page(made("0124"), context)
    assert other.page.get_by_role("button", name="Go on as").count() == 0  # another run


def test_what_is_kept_and_cannot_be_read_is_passed_over(open_page):
    shown = made("01")
    labeller = open_page(shown)
    for kept in ("{", "null", '{"answers": {"4": "9", "7": "1", "99": "0"}, "past": [[99, null], null, [7, null]]}'):
        labeller.page.evaluate(
            "([key, kept]) => localStorage.setItem(key, kept)", [f"defuse votes {shown.run} anna", kept]
        )
        labeller.page.reload()
        labeller.begin("anna")
        assert labeller.where == "Group 1 of 3"
    assert labeller.page.locator("[data-show=answered]").inner_text() == "1 of 3 answered"
    labeller.press("Backspace", "Backspace")
    assert labeller.where == "Group 2 of 3"


def test_a_browser_that_keeps_nothing_is_said_so_and_still_writes_the_file(browser, open_page, tmp_path):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied'); }})")
    labeller = open_page(made("01"), context)
    assert labeller.page.get_by_text("This browser keeps nothing when the page is closed").is_visible()
    labeller.begin("anna").press("0", "0", "1")
    assert answers(labeller.save(tmp_path))[1] == {4: "0", 7: "0", 10: "1"}


@pytest.mark.parametrize("name", ["a/b", "..", "a.b", "=1+1", '"', "a;b"])
def test_a_name_that_can_be_no_file_s_is_refused(open_page, name):
    labeller = open_page(made("01")).begin(name)
    assert labeller.page.get_by_role("alert").inner_text().endswith("allowed: letters, digits, - and _.")
    assert labeller.page.get_by_label("Your name").is_visible()


def test_the_text_to_copy_is_the_file_s_and_names_with_commas_and_quotes_come_back(open_page, tmp_path):
    names = ('a "b", c', "</script><script>alert(1)</script>", "d\ne", "-", "+", "=1", "'")
    shown = made(names, counts=[1] * len(names))
    labeller = open_page(shown).begin("Zoë_1").press(*"1234567")
    path = labeller.save(tmp_path)
    assert path.name == "votes-Zoë_1.csv"
    assert list(answers(path)[1].values()) == list(names)
    labeller.page.get_by_text("Saving does not work here?").click()
    assert labeller.page.locator("#csv").input_value() == path.read_text(encoding="utf-8")


def test_the_end_says_what_to_do_with_the_file(open_page):
    labeller = open_page(made("01")).begin("anna").press("0", "0", "0")
    assert labeller.page.get_by_text("defuse correct . --votes votes-*.csv").is_visible()
    labeller = open_page(made("01"), steps=[("Give it to <Eve>.", "")]).begin("anna").press("0", "0", "0")
    assert labeller.page.get_by_text("Give it to <Eve>.").is_visible()
    assert labeller.page.get_by_text("defuse correct").count() == 0


def test_a_run_without_regions_has_a_page_that_says_so(open_page):
    assert open_page(made("01", counts=())).page.get_by_text("There is no region to label.").is_visible()


def test_what_a_labeller_can_press_has_a_name_and_where_the_focus_is_can_be_seen(open_page):
    page = open_page(made(ANIMALS)).begin("anna").page
    for name in ("Back", "Skip", "Undo", "Overview", "Save", NOT_RECOGNISABLE, SEVERAL_CLASSES, *ANIMALS):
        assert page.get_by_role("button", name=name, exact=True).count() == 1
    assert page.get_by_label("Search the 14 classes").count() == 1
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    for _ in range(12):
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("Tab")


def test_the_files_of_two_labellers_are_read_and_joined(open_page, tmp_path):
    shown = made(('a, "b"', "c\nd", "é"))
    anna = open_page(shown).begin("anna").press("1", "-")
    zoe = open_page(shown).begin("Zoë").press("3", "+", "2")
    votes = read_votes([anna.save(tmp_path), zoe.save(tmp_path)], shown)
    assert votes.annotators == ("anna", "Zoë") and votes.missing == ()
    expected = [[0, 2]] * 3, [[ABSTAIN, SEVERAL]], [[NO_VOTE, 1]] * 5
    assert [own.tolist() for own in votes.votes] == list(expected)
