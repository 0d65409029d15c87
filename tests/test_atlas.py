"""The bug atlas: pages that say what the tables say, stand alone, and work in a browser."""

import base64
import html
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_readings import empty_readings, three_seeds, write_readings
from matplotlib import pyplot
from matplotlib.colors import to_rgba
from matplotlib.text import Text
from PIL import Image

from defuse.core.params_file import load_params
from defuse.core.storage import load_arrays, read_json, read_table, save_arrays, write_json, write_table
from defuse.data.class_names import TRAFFIC_SIGNS, class_name
from defuse.data.prepared import CLASSES
from defuse.evidence.results import measures_by_seed, provenance, result_path, seeds_of
from defuse.evidence.tables import table_measures
from defuse.showing.atlas import CARRIERS, FIGURES, STUDY_FIGURES, dataset_page, front_page, headline, region_rows
from defuse.showing.cells import show_regions
from defuse.showing.drawing import MISTAKES
from defuse.showing.region_figures import procedure, regions
from experiments.front_page import make_page
from experiments.shared.cell import Cell

RESULTS = Path(__file__).resolve().parent.parent / "results"
SHOWN = FIGURES + STUDY_FIGURES


@pytest.fixture(scope="module")
def mnist(tmp_path_factory) -> Path:
    """MNIST's tables with the first three of its seeds, as seeds 0 to 2; not to be changed."""
    return three_seeds(RESULTS / "mnist" / "tables", tmp_path_factory.mktemp("mnist") / "tables")


class Page(HTMLParser):
    """What a page holds: rows of its tables (of the table of regions alone, if any), cards, and what it refers to."""

    def __init__(self, text: str):
        super().__init__()
        self.rows, self.cards, self.identities, self.references, self.images = [], [], set(), [], []
        self.cell, self.table, self.of_regions = False, "", 'id="region-table"' in text
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.identities |= {found["id"]} if "id" in found else set()
        self.references += [found[name] for name in ("href", "src") if name in found]
        self.cards += [found["id"]] if tag == "section" and "id" in found else []
        self.images += [found] if tag == "img" else []
        self.table = found.get("id", "") if tag == "table" else self.table
        self.rows += [[]] if tag == "tr" and self.in_rows() else []
        self.cell = tag in ("td", "th") or (self.cell and tag in ("a", "span", "button"))
        if tag in ("td", "th") and self.in_rows():
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.cell and self.in_rows():
            self.rows[-1][-1] += data

    def in_rows(self):
        return self.table == "region-table" or not self.of_regions


def shares(values: pd.Series) -> list[str]:
    return ["–" if np.isnan(value) else f"{value:.0%}" for value in values]


def test_the_table_of_regions_says_what_the_tables_say(mnist):
    page, rows = Page(dataset_page(mnist, "mnist", SHOWN)), region_rows(mnist, "mnist", 0)
    table = read_table(result_path(mnist, "regions.csv"))
    assert len(page.rows) - 1 == len(rows) == (table.seed == table.seed.min()).sum()
    columns = [[row[place].strip() for row in page.rows[1:]] for place in range(8)]
    assert columns[0] == rows.region.astype(str).tolist() and columns[1] == rows.headline.tolist()
    assert columns[2] == rows.verdict.tolist()
    assert columns[7] == ["1 of 3 seeds"] * rows.accepted.sum() + ["–"] * (~rows.accepted).sum()
    assert columns[3:7] == [
        shares(rows[name]) for name in ("share_of_mistakes", "failure_rate", "failure_after", "agreement")
    ]
    accepted = rows[rows.accepted]
    corrected = read_table(result_path(mnist, "corrected_regions.csv"))
    corrected = corrected[corrected.seed == corrected.seed.min()].set_index("region")
    assert len(accepted) and rows.accepted.tolist() == sorted(rows.accepted, reverse=True)
    assert accepted.failure_after.tolist() == pytest.approx((1 - corrected.accuracy_after[accepted.region]).tolist())
    assert accepted.headline.iloc[0] == f"{accepted.label.iloc[0]} taken for {accepted.prediction.iloc[0]}"


def test_the_first_seed_is_the_first_of_the_params_and_not_the_smallest(tmp_path, mnist):
    tables = Path(shutil.copytree(mnist, tmp_path / "tables"))
    regions, corrected = (read_table(tables / f"mnist_{name}.csv") for name in ("regions", "corrected_regions"))
    other = regions[regions.seed == 0].assign(seed=-1, verdict="false alarm")
    write_table(tables / "mnist_regions.csv", pd.concat([regions, other]))
    write_table(
        tables / "mnist_corrected_regions.csv",
        corrected[corrected.seed != 0].assign(region=range(len(corrected[corrected.seed != 0]))),
    )
    rows = region_rows(tables, "mnist", seeds_of(measures_by_seed(tables))[0])
    assert len(rows) == (regions.seed == 0).sum() and rows.accepted.any()
    assert rows.failure_after.isna().all()  # what another seed's correction did to its regions tells nothing here


def test_a_page_says_how_many_regions_are_a_new_type_of_error_and_how_many_test_errors(tmp_path, mnist):
    tables = Path(shutil.copytree(mnist, tmp_path / "tables"))
    measures = read_table(tables / "mnist_measures.csv")
    values = {"new_type": {0: 0.62, 1: np.nan, 2: 1.0}, "new_type_of_test_errors": {0: 0.17, 1: 0.2, 2: 0.25}}
    for name, by_seed in values.items():
        chosen = measures.measure == name
        measures.loc[chosen, "value"] = measures[chosen].seed.map(by_seed)
    write_table(tables / "mnist_measures.csv", measures)
    page = " ".join(dataset_page(tables, "mnist", SHOWN).split())
    assert "this holds for 62% / – / 100% of the accepted regions with failing draws" in page
    assert "and for 17% / 20% / 25% of the classifier's errors on test images" in page
    measures.loc[measures.measure.isin(values), "value"] = np.nan
    write_table(tables / "mnist_measures.csv", measures)
    assert "new type of error" not in dataset_page(tables, "mnist", SHOWN)


def test_each_region_worth_showing_has_a_card_with_its_images(mnist):
    text, shown = dataset_page(mnist, "mnist", SHOWN), load_arrays(result_path(mnist, "regions.npz"))
    page = Page(text[text.index('id="regions"') :])
    assert page.cards == [f"region-{region}" for region in shown["region"]]
    images = [image for image in page.images if image["alt"].startswith(f"draw of region {shown['region'][0]}:")]
    assert len(images) == shown["images"].shape[1]
    for image, pixels, said in zip(images, shown["images"][0], shown["prediction"][0]):
        encoded = base64.b64decode(image["src"].partition(",")[2])
        decoded = np.asarray(Image.open(io.BytesIO(encoded)).convert("L")).astype(int)
        assert np.abs(decoded - pixels[..., 0]).mean() < 4 and f"says {said}," in image["alt"]
    assert all("alt" in image for image in page.images)


def test_a_region_without_a_label_is_never_scored(tmp_path, mnist):
    tables = Path(shutil.copytree(mnist, tmp_path / "tables"))
    missing = {"label": -1, "verdict": "not recognisable", "agreement": 0.0}
    missing |= dict.fromkeys(("failure_rate", "failure_low", "failure_high"), np.nan)
    write_table(tables / "mnist_regions.csv", read_table(tables / "mnist_regions.csv").assign(**missing))
    write_table(tables / "mnist_corrected_regions.csv", read_table(tables / "mnist_corrected_regions.csv").iloc[:0])
    (tables / "mnist_readings.csv").unlink(missing_ok=True)
    text = dataset_page(tables, "mnist", SHOWN)
    assert "Nothing that annotators recognise" in text and 'class="said wrong"' not in text
    assert "<dt>fails on fresh draws</dt><dd>–</dd>" in text
    assert {row[4] for row in Page(text).rows[1:]} == {"–"}
    (words,) = [line for line in show_regions(str(tables), 1).data.splitlines()[2:]]
    assert "| not recognisable | nothing |" in words and words.endswith(" | – |")
    figure = procedure(tables)
    corners = [text for axes in figure.axes for text in axes.texts if text.get_text().isdigit()]
    grounds = [text.get_bbox_patch().get_facecolor() for text in corners]
    members = grounds.count(to_rgba(MISTAKES))
    assert 0 < members <= 9 and grounds.count(to_rgba("black")) == len(grounds) - members > 0
    words = "".join(text.get_text() for figure in (figure, regions(tables)) for text in figure.findobj(Text))
    assert words.count("annotators: nothing") >= 2 and "annotators: nothing (" not in words and "fails on" not in words
    pyplot.close("all")


def test_votes_of_people_that_name_no_class_are_signs(tmp_path, mnist):
    tables = Path(shutil.copytree(mnist, tmp_path / "tables"))
    (tables / "mnist_readings.csv").unlink(missing_ok=True)
    arrays = load_arrays(result_path(tables, "regions.npz"))
    votes = np.broadcast_to(np.array([8, -1, -2, -3]), (*arrays["votes"].shape[:2], 4))
    save_arrays(result_path(tables, "regions.npz"), **{**arrays, "votes": votes})
    text = dataset_page(tables, "mnist", SHOWN)
    assert "8 – + ·<br>" in text and "-2" not in text.partition("<h4>Votes")[2].partition("</ul>")[0]


@pytest.fixture
def with_readings(tmp_path, mnist) -> Path:
    """MNIST's tables with made-up readings of three seeds."""
    return write_readings(Path(shutil.copytree(mnist, tmp_path / "tables")))


def test_the_repaired_method_s_regions_stand_beside_the_described_one_s(with_readings):
    write_readings(with_readings)
    add_measures(with_readings)
    text = dataset_page(with_readings, "mnist", SHOWN)
    page = Page(text)
    shown = load_arrays(with_readings / "mnist_shown_repaired.npz")
    articles = [name for name in re.findall(r'<article class="card" id="(repaired-\d+)"', text)]
    assert articles == [f"repaired-{region}" for region in shown["region"]]
    below = Page(text[text.index('id="repaired"') :])
    images = [image for image in below.images if image["alt"].startswith("image of repaired region")]
    assert len(images) == shown["shown"].sum() < shown["prediction"].size  # no blank one
    assert all(image["alt"].endswith("the classifier says 8") for image in images)
    card = text[text.index('id="repaired-5"') :].partition("</article>")[0]
    assert "3 taken for 8" in card and card.count('class="said wrong"') == 10
    facts = re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", card)
    assert facts == [
        ("share of the mistakes", "15%"),
        ("agreement", "90%"),
        ("not recognised", "10%"),
        ("fails on held-out members", "75%"),
        ("fails on fresh draws", "50%"),
        ("found in", "3 of 3 seeds"),
    ]
    card = text[text.index('id="repaired-0"') :].partition("</article>")[0]
    assert "Nothing that annotators recognise" in card and 'class="said wrong"' not in card and "<dd>–</dd>" in card
    assert {"#regions", "#repaired"} <= set(page.references) and {"regions", "repaired"} <= page.identities
    summary = " ".join(text.partition("Three readings of the method")[2].partition("</table>")[0].split())
    for accepted, own in (("1 / 2 / 1", "10% / 12% / 14%"), ("2 / 3 / 2", "20% / 22% / 24%"), ("5 / 6 / 5", "75%")):
        assert f'<td class="number">{accepted}</td><td class="number">6 / 6 / 6</td><td class="number">{own}' in summary
    assert page.references.count("mnist/mnist_readings.png") == 1


def add_measures(tables):
    """The readings' numbers among the measures, as `summarize` puts them there."""
    measures = read_table(tables / "mnist_measures.csv")
    rows = table_measures(read_table(tables / "mnist_readings.csv"), "reading", "reading")
    write_table(tables / "mnist_measures.csv", pd.concat([measures[~measures.stage.isin(rows.stage)], rows]))


def test_a_page_says_where_no_reading_has_a_region_and_is_silent_where_none_was_studied(with_readings):
    empty_readings(with_readings)
    add_measures(with_readings)
    text = dataset_page(with_readings, "mnist", SHOWN)
    assert "No group of mistakes is large enough to be a region." in text and 'id="repaired-' not in text
    assert "Repaired: no region was accepted" in text
    for path in with_readings.glob("mnist_readings.csv"):  # as of the demonstration
        path.unlink()
    text = dataset_page(with_readings, "mnist", FIGURES)
    assert "repaired" not in text and "readings" not in text and ">Regions</h2>" in text


@pytest.fixture
def with_bugs(with_readings) -> Path:
    """MNIST's tables with three accepted regions of the first seed, the largest the least clear, and readings."""
    add_measures(with_readings)
    table = read_table(with_readings / "mnist_regions.csv").assign(verdict="false alarm")
    shown = load_arrays(with_readings / "mnist_regions.npz")["region"][:3]
    for region, failure, label, said in zip(shown, (0.6, 0.9, 0.7), (4, 2, 2), (9, 7, 7)):
        chosen = (table.seed == 0) & (table.region == region)
        facts = {"verdict": "accepted", "agreement": 0.9, "failure_rate": failure, "label": label, "prediction": said}
        table.loc[chosen, list(facts)] = list(facts.values())
    table.loc[(table.seed == 1) & (table.region == 0), ["verdict", "label", "prediction"]] = ["accepted", 2, 7]
    write_table(with_readings / "mnist_regions.csv", table)
    return with_readings


def words_of(text: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", text).split())


def test_the_page_starts_with_the_clearest_bug_of_both_readings_and_its_seeds(with_bugs):
    path = with_bugs / "mnist_reading_regions.csv"
    table = read_table(path)
    others = (table.seed > 0) & (table.reading == "repaired")
    table.loc[others, "label"] = 5
    table.loc[(table.seed == 0) & (table.reading == "repaired") & (table.region == 2), "member_failure"] = 0.8
    write_table(path, table)
    text = dataset_page(with_bugs, "mnist", SHOWN)
    first = words_of(text[text.index('id="clearest"') : text.index("What correction does")])
    second = load_arrays(with_bugs / "mnist_regions.npz")["region"][1]
    assert "As described: 2 taken for 7" in first and f'href="#region-{second}"' in text
    assert "give 90% of their votes to this label" in first and "fails on 90% of fresh draws of the region" in first
    assert "was found in 2 of 3 seeds" in first
    assert "Repaired: 3 taken for 8" in first and 'href="#repaired-2"' in text
    assert "fails on 80% of images of the region that nobody was shown" in first
    assert "was found in 1 of 3 seeds" in first
    assert "The clearest bug is the accepted region with the greatest product of two shares" in first
    assert text.index('id="clearest"') < text.index("<table") and Page(text).cards[0] == f"region-{second}"
    assert text.count("<dt>found in</dt><dd>2 of 3 seeds</dd>") == 2  # both regions of the pair


@pytest.mark.parametrize(
    ("member_failure", "expected", "how"),
    [
        (0.95, "3 taken for 8", "as repaired"),
        (0.9, "2 taken for 7", "as described"),
        (0.2, "2 taken for 7", "as described"),
    ],
)
def test_the_front_page_shows_the_clearest_bug_of_both_readings(with_bugs, member_failure, expected, how):
    path = with_bugs / "mnist_reading_regions.csv"
    table = read_table(path)
    write_table(path, table.assign(member_failure=table.member_failure.where(table.label < 0, member_failure)))
    text = words_of(front_page(claims_about("SVHN"), {"mnist": with_bugs}))
    assert f"MNIST: {expected} " in text and "Annotators give 90% of their votes" in text
    assert f"Found by the method {how}: its region" in text
    regions = (read_table(with_bugs / "mnist_regions.csv").seed == 0).sum()
    assert f"accepted 3 of {regions} as described, 5 of 6 as repaired." in text


def test_a_bug_of_a_single_seed_says_nothing_about_seeds(with_bugs):
    for name in ("measures", "regions", "readings", "reading_regions"):
        path = with_bugs / f"mnist_{name}.csv"
        write_table(path, read_table(path).query("seed == 0"))
    text = dataset_page(with_bugs, "mnist", SHOWN)
    assert "As described: 2 taken for 7" in text and "was found in" not in text and "<dt>found in" not in text


def test_a_bug_whose_usual_prediction_is_right_names_no_wrong_class():
    region = pd.Series({"label": 1, "prediction": 1, "verdict": "accepted"})
    assert headline("svhn", region) == "1 taken for another class"  # was "1 taken for 1"


def test_two_renderings_have_the_same_bytes(mnist):
    assert dataset_page(mnist, "mnist", SHOWN) == dataset_page(mnist, "mnist", SHOWN)


def test_a_page_shows_the_figures_that_it_is_given_and_no_way_to_a_missing_front_page(mnist):
    alone, beside = (
        Page(dataset_page(mnist, "mnist", figures, front_page))
        for figures, front_page in ((FIGURES, False), (SHOWN, True))
    )
    for page, figures in ((alone, FIGURES), (beside, SHOWN)):
        shown = [reference for reference in page.references if reference.endswith(".png")]
        assert set(shown) == {f"mnist/mnist_{name}.png" for name in figures}
    assert "index.html" in beside.references and "index.html" not in alone.references


def claims_about(title: str) -> pd.DataFrame:
    """A claims table of one condition for each claim of the post, with another verdict each time."""
    return pd.DataFrame(
        [
            {
                "claim": claim,
                "statement": f"It <holds>: {claim}",
                "data": title,
                "measure": f"outcome.{number}",
                "rule": ">= 0.9",
                "values": f"{number / 10:g} nan 0.5",
                "all_met": number,
                "all_judged": 8,
                "verdict": f"verdict {number}",
            }
            for number, claim in enumerate(CARRIERS)
        ]
    )


def test_the_front_page_has_a_bug_and_each_claim_with_its_verdict_and_figure(mnist):
    text = front_page(claims_about(provenance(mnist)["title"]), {"mnist": mnist})
    page = Page(text)
    for number, (claim, figure) in enumerate(CARRIERS.items()):
        assert f"It &lt;holds&gt;: {claim}" in text and f"mnist/mnist_{figure}.png" in page.references
        assert [" ".join(cell.split()) for cell in page.rows[2 * number + 1]] == [
            "MNIST",
            f"verdict {number} ({number} of 8 seeds)",
            f"outcome.{number}: {number / 10:.3g} / – / 0.5 (>= 0.9)",
        ]
    assert set(CARRIERS.values()) <= set(SHOWN)
    assert any(headline in text for headline in region_rows(mnist, "mnist", 0).query("accepted").headline)
    other = front_page(claims_about("SVHN"), {"mnist": mnist})
    assert "verdict 1" not in other and other.count("take no part in the claims") == len(CARRIERS)


def test_the_stage_makes_the_front_page_of_the_committed_claims(tmp_path):
    settings = load_params(RESULTS.parent / "params.yaml")
    shutil.copy(RESULTS / "claims.csv", tmp_path)
    for name in settings.datasets:
        shutil.copytree(RESULTS / name / "tables", tmp_path / name / "tables")
    assert make_page(Cell(settings, "front_page", results=tmp_path)).startswith("3 data sets; open ")
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    claims = read_table(RESULTS / "claims.csv")
    assert all(statement in html.unescape(text) for statement in claims[claims.claim.isin(CARRIERS)].statement)


def test_pages_say_where_there_is_nothing(tmp_path, mnist):
    tables = Path(shutil.copytree(mnist, tmp_path / "tables"))
    rejected = read_table(tables / "mnist_regions.csv").assign(verdict="false alarm")
    write_table(tables / "mnist_regions.csv", rejected)
    write_table(tables / "mnist_corrected_regions.csv", read_table(tables / "mnist_corrected_regions.csv").iloc[:0])
    (tables / "mnist_readings.csv").unlink()
    assert "taken for" not in "".join(region_rows(tables, "mnist", seeds_of(measures_by_seed(tables))[0]).headline)
    assert "no region was accepted" in front_page(claims_about(""), {"mnist": tables})
    write_table(tables / "mnist_regions.csv", rejected.iloc[:0])
    for name in ("regions", "members", "novelty"):
        path = tables / f"mnist_{name}.npz"
        save_arrays(path, **{key: array[:0] for key, array in load_arrays(path).items()})
    page = dataset_page(tables, "mnist", SHOWN)
    assert "No component of the mixture is heavy enough" in page and not Page(page).cards


def test_words_from_the_tables_are_escaped(tmp_path, mnist):
    tables = Path(shutil.copytree(mnist, tmp_path / "tables"))
    write_json(tables / "provenance.json", {**read_json(tables / "provenance.json"), "line": "<script>alert(1)"})
    page = dataset_page(tables, "mnist", SHOWN)
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


def test_a_traffic_sign_is_named():
    assert len(TRAFFIC_SIGNS) == CLASSES["gtsrb"] and len(set(TRAFFIC_SIGNS)) == len(TRAFFIC_SIGNS)
    assert [class_name("gtsrb", label) for label in (1, 14, 17)] == ["1 (limit 30)", "14 (stop)", "17 (no entry)"]
    assert class_name("mnist", 7) == "7"


@pytest.mark.parametrize("name", [path.name for path in sorted((RESULTS / "report").glob("*.html"))])
def test_a_committed_page_stands_alone(name):
    text = (RESULTS / "report" / name).read_text(encoding="utf-8")
    assert "://" not in text.replace("file://", "")
    page = Page(text)
    for reference in page.references:
        path, _, part = reference.partition("#")
        made = path != "index.html" or (RESULTS / "report" / path).exists()  # it comes when all data sets have run
        if made and not reference.startswith("data:"):
            other = Page((RESULTS / "report" / path).read_text(encoding="utf-8")) if path.endswith(".html") else page
            assert (RESULTS / "report" / path).exists() and (not part or part in other.identities)


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_the_pages_work_in_a_browser(browser, tmp_path, with_readings, width, scheme, mnist):
    (tmp_path / "mnist").mkdir()
    for name in SHOWN:
        shutil.copy(RESULTS / "mnist" / "figures" / "mnist_noise.png", tmp_path / "mnist" / f"mnist_{name}.png")
    add_measures(with_readings)
    (tmp_path / "mnist.html").write_text(dataset_page(with_readings, "mnist", SHOWN), encoding="utf-8")
    (tmp_path / "index.html").write_text(front_page(claims_about("SVHN"), {"mnist": mnist}), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    errors = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.goto((tmp_path / "index.html").as_uri())
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("link", name="All regions of").first.click()
    assert page.url.endswith("/mnist.html") and page.evaluate("document.documentElement.scrollWidth") == width
    rows = region_rows(mnist, "mnist", 0)
    first = page.locator("#region-table tbody tr").first
    for heading, column in (("fails", "failure_rate"), ("share of the mistakes", "share_of_mistakes")):
        button = page.locator("#region-table th button", has_text=heading)
        button.focus()
        page.keyboard.press("Enter")
        assert first.locator("td").nth(3 if "share" in heading else 4).inner_text() == f"{rows[column].max():.0%}"
        page.keyboard.press("Enter")
        lowest = "–" if rows[column].isna().any() else f"{rows[column].min():.0%}"
        assert first.locator("td").nth(3 if "share" in heading else 4).inner_text() == lowest
    link = page.locator("#region-table a").last
    card = page.locator(link.get_attribute("href"))
    link.click()
    assert page.url.endswith(link.get_attribute("href")) and card.is_visible()
    card.locator("summary").click()
    assert card.locator("h4").first.is_visible()
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed() if image.is_visible() else None
    broken = "[...document.images].filter((image) => image.complete && !image.naturalWidth).length"
    assert page.evaluate(broken) == 0 and errors == []
