"""The worked example of docs/own_classifier.md from end to end: commands as a user types them, clicks in a browser."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

from defuse.core.storage import read_table
from defuse.debugging.finding import load_findings

EXAMPLE = ROOT / "docs" / "example"
COMMAND = [sys.executable, "-c", "from defuse.debugging.commands import app; app()"]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example's modules, and a folder with its data and classifier."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        import seeds
        import shapes

        folder = tmp_path_factory.mktemp("example")
        shapes.make(folder, 0)
        yield shapes, seeds, folder
        for name in ("shapes", "seeds"):
            sys.modules.pop(name, None)


def defuse(folder, *arguments):
    """What a command prints, typed where the example lies."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SHAPES": str(folder)}
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=EXAMPLE, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def click_through(browser, page_file, answers, class_names, out):
    """Answer each group on the page as `answers` say, and save the file of votes."""
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.get_by_label("Your name").fill("ann")
    page.keyboard.press("Enter")
    for answer in answers:
        page.get_by_role("button", name=class_names[int(answer[0, 0])], exact=True).click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save votes-ann.csv").click()
    saved.value.save_as(out / saved.value.suggested_filename)
    page.close()


def test_the_planted_bug_is_among_the_first_regions_is_named_by_clicks_and_is_gone(example, browser):
    shapes, seeds, folder = example
    bugs = folder / "bugs"
    shorter = folder / "shorter.yaml"  # than the example's own trainings, which find the same
    shorter.write_text((EXAMPLE / "settings.yaml").read_text(encoding="utf-8").replace("700", "400"), encoding="utf-8")
    options = ("--images", folder / "train", "--test", folder / "test", "--side", 32, "--settings", shorter)
    said = defuse(folder, "find", "--classifier", "shapes:classifier", *options, "--out", bugs)
    assert "this will take about" in said and f"defuse label {bugs}" in said
    findings = load_findings(bugs)
    rank = seeds.rank_of_bug(findings)
    assert rank is not None and rank <= 3

    defuse(folder, "label", bugs)
    answers = seeds.label(seeds.labeller(folder, 0), findings.shown)
    click_through(browser, bugs / "label.html", answers, findings.shown.class_names, bugs)
    said = defuse(folder, "correct", bugs)
    assert str(bugs / "report.html") in said
    annotation = read_table(bugs / "annotation.csv").set_index("region")
    assert (annotation.label[rank - 1], annotation.verdict[rank - 1]) == ("triangle", "accepted")

    with torch.random.fork_rng():  # the initial weights are replaced
        corrected = shapes.build_network()
    corrected.load_state_dict(load_file(bugs / "corrected" / "classifier.safetensors"))
    assert shapes.accuracy(corrected, *shapes.bug_images(200, 0)) > 0.9
    sweep = read_table(bugs / "corrected" / "sweep.csv")
    assert sweep.test_accuracy[sweep.chosen].item() >= sweep.test_accuracy[0] - 0.01
    assert "triangle taken for square" in (bugs / "report.html").read_text(encoding="utf-8")
