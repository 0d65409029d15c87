"""Votes as files: written, read back, joined, and every way in which a file may be wrong."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tiny_cell
import torch

from defuse.annotators.people import read_votes, write_votes
from defuse.core import params
from defuse.core.errors import MissingFileError, ParamsError, StorageError, VotesError
from defuse.core.params_file import load_params
from defuse.core.storage import load_arrays, read_table
from defuse.data.pixels import to_bytes
from defuse.method.annotation import (
    ABSTAIN,
    NO_VOTE,
    SEVERAL,
    Annotations,
    agreement_kappa,
    consensus,
    judge_region,
    region_measures,
    region_table,
)
from defuse.method.shown import Shown, load_shown, save_shown
from defuse.models.autoencoder import VAE
from defuse.models.evaluation import decode
from defuse.models.saved_networks import load_network

HEADER = "run,annotator,region,image,label"
SETTINGS = params.Annotate(
    minimum_agreement=0.5,
    consensus=0.6,
    strictness=[0.5],
    maximum_abstention=0.5,
    minimum_failures=0.5,
    slip_rate=0.0,
    annotated_mistakes=10,
)


@pytest.fixture
def shown():
    """Regions 4 and 7, of three and of two images."""
    images = [np.full((count, 2, 2, 1), count, np.uint8) for count in (3, 2)]
    return Shown(np.array([4, 7]), images, ("circle", "square", "triangle"))


def of_person(folder, shown, name, *rows, run=""):
    """A file as the page writes it: rows of region, image and label."""
    lines = [HEADER, *(f"{run or shown.run},{name},{row}" for row in rows)]
    path = folder / f"votes-{name}.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_what_is_written_is_read_back(tmp_path, shown):
    votes = [np.array([[0, ABSTAIN], [SEVERAL, 1], [2, NO_VOTE]]), np.array([[1, 1], [0, 2]])]
    write_votes(tmp_path / "votes.csv", shown, votes, ("oracle 0", "Ida, the second"))
    read = read_votes([tmp_path / "votes.csv"], shown)
    assert read.annotators == ("oracle 0", "Ida, the second") and read.missing == ()
    assert [own.tolist() for own in read.votes] == [own.tolist() for own in votes]
    assert all(own.dtype == np.int64 for own in read.votes)
    lines = (tmp_path / "votes.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEADER and len(lines) == 1 + 9
    assert lines[2] == f'{shown.run},"Ida, the second",4,0,not recognisable'


def test_the_files_of_several_people_are_joined_and_an_answer_counts_for_all_images_of_its_region(tmp_path, shown):
    ann = of_person(tmp_path, shown, "Ann", "7,,several classes", "4,,square")
    ben = of_person(tmp_path, shown, "Ben", "4,,not recognisable", "7,,circle")
    read = read_votes([ann, ben], shown)
    assert read.annotators == ("Ann", "Ben")
    assert read.votes[0].tolist() == [[1, ABSTAIN]] * 3
    assert read.votes[1].tolist() == [[SEVERAL, 0]] * 2


def test_who_left_a_region_out_has_no_vote_on_it_and_a_region_that_nobody_voted_on_is_missing(tmp_path, shown):
    ann, ben = of_person(tmp_path, shown, "Ann", "7,,circle"), of_person(tmp_path, shown, "Ben", "7,1,square")
    read = read_votes([ann, ben], shown)
    assert read.missing == (4,)
    assert read.votes[0].tolist() == [[NO_VOTE, NO_VOTE]] * 3
    assert read.votes[1].tolist() == [[0, NO_VOTE], [0, 1]]


def test_a_byte_order_mark_blank_lines_another_order_and_further_columns_pass(tmp_path, shown):
    text = f"label,note,image,region,annotator,run\r\n square ,x,,4,Ann,{shown.run}\r\n,,,,,\r\n\r\n"
    (tmp_path / "votes.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert read_votes([tmp_path / "votes.csv"], shown).votes[0].tolist() == [[1]] * 3


def test_where_nothing_was_shown_there_is_no_vote(tmp_path):
    nothing = Shown(np.zeros(0, np.int64), [], ("circle", "square"))
    write_votes(tmp_path / "votes.csv", nothing, [], ("oracle 0",))
    read = read_votes([tmp_path / "votes.csv"], nothing)
    assert read.votes == [] and read.missing == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["9,,circle"], "line 2: region 9; allowed: 4, 7"),
        (["4,3,circle"], "line 2: image 3; allowed: 0 to 2, or none for all of region 4"),
        (
            ["4,,tringle"],
            r"line 2: label 'tringle' \(nearest: 'triangle'\); allowed: circle, square, triangle, not rec",
        ),
        (["4,,Circle"], r"label 'Circle' \(nearest: 'circle'\)"),
        (["4,,zzz"], "label 'zzz'; allowed: circle"),
        (["4,,circle", "7,,circle", "4,,square"], "line 4: 'Ann' has voted on region 4 in line 2; allowed: once"),
        (["4,,circle", "4,1,circle"], "line 3: 'Ann' has voted on image 1 of region 4 in line 2"),
        (["4,1,circle", "4,,circle"], "line 3: 'Ann' has voted on region 4 in line 2"),
        (["4,,"], "line 2: label is blank; allowed: a value in each column but image"),
        ([",,circle"], "line 2: region is blank"),
        (["4.0,,circle"], "line 2: region is '4.0'; allowed: a whole number"),
        (["4,-1,circle"], "line 2: image is '-1'; allowed: a whole number"),
        (["4,,circle,square"], "line 2: 6 values; allowed: 5, one for each column"),
        (["4,circle"], "line 2: 4 values; allowed: 5"),
        (['4,,"circle'], "line 2: no readable CSV"),
        ([], "votes-Ann.csv: no vote; allowed: at least one"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_line(tmp_path, shown, rows, message):
    path = of_person(tmp_path, shown, "Ann", *rows)
    with pytest.raises(VotesError, match=message) as caught:
        read_votes([path], shown)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("run,annotator,region,label", "line 1: it has run, annotator, region, label; allowed: run, annotator, region"),
        ("run;annotator;region;image;label", "separated by commas, not by semicolons"),
        ("run,annotator,region,image,label,label", "each once"),
        ("", "line 1: it has nothing; allowed: run"),
    ],
)
def test_a_file_without_its_columns_says_which_are_wanted(tmp_path, shown, header, message):
    (tmp_path / "votes.csv").write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(VotesError, match=message):
        read_votes([tmp_path / "votes.csv"], shown)


def test_votes_of_another_run_are_refused_with_both_names(tmp_path, shown):
    path = of_person(tmp_path, shown, "Ann", "4,,circle", run="0123456789ab")
    with pytest.raises(VotesError, match=f"line 2: votes of run 0123456789ab; allowed: votes of run {shown.run}"):
        read_votes([path], shown)


def test_two_files_of_one_annotator_are_refused(tmp_path, shown):
    (tmp_path / "again").mkdir()
    first = of_person(tmp_path, shown, "Ann", "4,,circle")
    second = of_person(tmp_path / "again", shown, "Ann", "7,,circle")
    for paths in ([first, second], [first, first]):
        with pytest.raises(VotesError, match=f"line 2: annotator 'Ann' is also in {first}; allowed: one file for each"):
            read_votes(paths, shown)


def test_a_file_that_cannot_be_read_is_named(tmp_path, shown):
    with pytest.raises(MissingFileError, match=r"votes-Ann\.csv: no such file"):
        read_votes([tmp_path / "votes-Ann.csv"], shown)
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        read_votes([tmp_path], shown)
    (tmp_path / "votes.csv").write_bytes(f"{HEADER}\n{shown.run},Jürgen,4,,circle\n".encode("cp1252"))
    with pytest.raises(StorageError, match=r"not in UTF-8 .* save it as CSV in UTF-8"):
        read_votes([tmp_path / "votes.csv"], shown)
    with pytest.raises(VotesError, match="no file: no vote"):
        read_votes([], shown)


def judged(votes, predictions=(0, 0)):
    return judge_region(np.array(votes), np.array(predictions), SETTINGS.minimum_agreement, SETTINGS)


def test_several_classes_count_against_agreement_and_are_neither_a_label_nor_an_abstention():
    result = judged([[1, 1, SEVERAL], [1, 1, SEVERAL]])
    assert (result.label, result.verdict, result.abstention, result.failures) == (1, "accepted", 0, 1)
    assert result.agreement == pytest.approx(2 / 3)
    assert judged([[1, SEVERAL, SEVERAL]] * 2).verdict == "no agreement"
    nothing = judged([[SEVERAL, ABSTAIN]] * 2)
    assert (nothing.label, nothing.agreement, nothing.abstention, nothing.verdict) == (ABSTAIN, 0, 0.5, "no agreement")
    assert np.isnan(nothing.failures)
    assert judged([[SEVERAL, ABSTAIN, ABSTAIN]] * 2).verdict == "not recognisable"


def test_who_did_not_vote_counts_as_nothing():
    result = judged([[1, NO_VOTE, ABSTAIN], [1, NO_VOTE, 0]])
    assert (result.label, result.agreement, result.abstention) == (1, 0.5, 0.25)
    assert result.failures == pytest.approx(2 / 3)
    nobody = judged([[NO_VOTE], [NO_VOTE]])
    assert (nobody.label, nobody.verdict) == (ABSTAIN, "not judged")
    assert np.isnan([nobody.agreement, nobody.abstention, nobody.failures]).all()


def test_a_region_that_nobody_voted_on_is_left_out_of_the_means():
    votes = Annotations(np.array([[[1, 1]] * 2, [[NO_VOTE] * 2] * 2]), np.zeros((2, 2), np.int64))
    table = region_table(votes, votes, np.full(2, 0.5), [np.array([1]), np.array([1])], 30, SETTINGS)
    measures = region_measures(table, votes, 2)
    assert (measures["accepted_regions"], measures["rejected"]) == (1, {"not judged": 1})
    assert (measures["mean_agreement"], measures["seed_label_agreement"]) == (1, 1)


def test_a_consensus_is_one_of_those_who_voted_and_never_several_classes():
    votes = np.array(
        [[1, 1, NO_VOTE, NO_VOTE], [SEVERAL, SEVERAL, SEVERAL, 1], [NO_VOTE] * 4, [1, 0, NO_VOTE, NO_VOTE]]
    )
    assert consensus(votes, 0.6).tolist() == [1, ABSTAIN, ABSTAIN, ABSTAIN]


def test_kappa_counts_several_classes_as_a_category_and_leaves_images_out_that_not_all_voted_on():
    whole = np.array([[0, 0], [SEVERAL, SEVERAL], [ABSTAIN, 1], [1, 1]])
    assert agreement_kappa(np.array([[0, 0], [SEVERAL, SEVERAL]]), 2) == pytest.approx(1)
    assert agreement_kappa(np.concatenate([whole, [[0, NO_VOTE]]]), 2) == agreement_kappa(whole, 2)
    assert np.isnan(agreement_kappa(np.array([[0], [1]]), 2))
    assert np.isnan(agreement_kappa(np.zeros((0, 0), np.int64), 2))


def test_no_region_has_no_measures_whoever_would_have_voted():
    votes = Annotations.together([], 10, 0)
    assert np.isnan(region_measures(region_table(votes, votes, np.zeros(0), [], 0, SETTINGS), votes, 2)["region_kappa"])


# The replication: the stages show_regions, vote and annotate.


SHOWN, VOTES = Path("artifacts/show_regions/digits/0/shown.npz"), Path("artifacts/vote/digits/0/votes.csv")


@pytest.fixture
def cell_of_people(tmp_path, monkeypatch, shipped_tree, shown):
    """Function that runs the stage vote on `shown` with files of votes."""
    monkeypatch.chdir(tmp_path)
    save_shown(SHOWN, shown)
    Path("votes").mkdir()

    def vote(*names):
        files = [f"votes/votes-{name}.csv" for name in names]
        tree = tiny_cell.small_params(shipped_tree, vote={"files": files})
        Path("params.yaml").write_text(json.dumps(tree), encoding="utf-8")
        tiny_cell.run_stage("vote")

    return vote


def test_people_s_files_are_joined_and_those_of_other_cells_passed_over(cell_of_people, shown, caplog):
    caplog.set_level(logging.INFO)
    of_person(Path("votes"), shown, "Ann", "4,,circle", "7,,square")
    of_person(Path("votes"), shown, "Ben", "7,,several classes")
    of_person(Path("votes"), shown, "Cem", "3,,eight", run="0123456789ab")
    cell_of_people("Ann", "Cem", "Ben")
    assert "votes of Ann, Ben on 2 regions; mistakes, fresh draws and studies are judged by the oracles" in caplog.text
    read = read_votes([VOTES], shown)
    assert read.annotators == ("Ann", "Ben")
    assert [own.tolist() for own in read.votes] == [[[0, NO_VOTE]] * 3, [[1, SEVERAL]] * 2]


def test_files_that_leave_a_cell_or_a_region_without_a_vote_name_its_page(cell_of_people, shown):
    page = "artifacts/show_regions/digits/0/label.html"
    with pytest.raises(
        SystemExit, match=r"^vote digits seed 0: votes/votes-Ann\.csv: no such file, and vote\.digits\.f"
    ):
        cell_of_people("Ann")
    of_person(Path("votes"), shown, "Ann", "4,,circle", run="0123456789ab")
    with pytest.raises(SystemExit, match=f"votes-Ann.csv: no votes of run {shown.run}; label the regions on {page}"):
        cell_of_people("Ann")
    of_person(Path("votes"), shown, "Ben", "4,,circle")
    with pytest.raises(SystemExit, match=f"votes-Ben.csv: nobody has voted on region 7; label it on {page}"):
        cell_of_people("Ann", "Ben")
    of_person(Path("votes"), shown, "Ben", "4,,circle", "7,,cirle")
    with pytest.raises(SystemExit, match=r"votes-Ben\.csv, line 3: label 'cirle' \(nearest: 'circle'\)"):
        cell_of_people("Ben")
    assert not VOTES.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["votes-Ann.csv"], "Input should be votes/votes-NAME.csv, a file in the folder votes/"),
        (["votes/Ann.csv"], "Input should be votes/votes-NAME.csv"),
        (["votes/votes-../../Ann.csv"], "Input should be votes/votes-NAME.csv"),
        (["votes/votes-Ann.csv"] * 2, "Input should hold no file twice"),
        ("votes/votes-Ann.csv", "Input should be a list"),
    ],
)
def test_files_of_votes_lie_in_their_folder_and_are_named_once(tree, write_params, files, message):
    tree["vote"]["digits"]["files"] = files
    with pytest.raises(ParamsError, match=f"vote.digits.files.*{message}"):
        load_params(write_params(tree))


def test_people_decide_on_the_regions_and_oracles_measure_them(tmp_path, monkeypatch, shipped_tree):
    monkeypatch.chdir(tmp_path)
    tree = tiny_cell.small_params(shipped_tree, annotate={"minimum_agreement": 0.6, "maximum_abstention": 0.5})
    tiny_cell.write_project(tmp_path, tree)
    chain = ("train_classifier", "train_features", "train_vae", "train_oracle", "calibrate_oracle", "identify")
    for stage in (*chain, "distill", "show_regions", "vote", "annotate"):
        tiny_cell.run_stage(stage)
    vae = load_network(Path("artifacts/train_vae/digits/0/vae.safetensors"), VAE)
    draws = load_arrays(Path("artifacts/distill/digits/0/samples.npz"))["shown"]
    shown = load_shown(SHOWN)
    assert len(shown.images) > 1 and shown.class_names == tuple("0123456789")
    for images, codes in zip(shown.images, draws):
        assert np.array_equal(images, to_bytes(decode(vae, torch.from_numpy(codes))))
    page = SHOWN.with_name("label.html").read_text(encoding="utf-8")
    assert shown.run in page and "vote.digits.files" in page
    assert read_votes([VOTES], shown).annotators == ("oracle 0", "oracle 1", "oracle 2")
    causes = Path("artifacts/annotate/digits/0/causes.csv").read_bytes()
    by_oracles = read_table(Path("artifacts/annotate/digits/0/regions.csv"))

    Path("votes").mkdir()
    rest = [f"{number},,not recognisable" for number in shown.numbers[1:]]
    of_person(Path("votes"), shown, "Ann", "0,,7", *rest)
    of_person(Path("votes"), shown, "Ben", "0,,7")
    tree["vote"]["digits"]["files"] = ["votes/votes-Ann.csv", "votes/votes-Ben.csv"]
    Path("params.yaml").write_text(json.dumps(tree), encoding="utf-8")
    tiny_cell.run_stage("vote")
    tiny_cell.run_stage("annotate")
    votes = load_arrays(Path("artifacts/annotate/digits/0/votes.npz"))
    assert votes["shown"].shape == (len(draws), 3, 2) and votes["shown"][1].tolist() == [[ABSTAIN, NO_VOTE]] * 3
    table = read_table(Path("artifacts/annotate/digits/0/regions.csv"))
    assert table.label.tolist() == [7] + [ABSTAIN] * (len(draws) - 1)
    assert table.verdict[1:].tolist() == ["not recognisable"] * (len(draws) - 1) and table.agreement[0] == 1
    # What is measured stays the oracles': causes, and purity on fresh draws.
    assert Path("artifacts/annotate/digits/0/causes.csv").read_bytes() == causes
    assert table.purity.tolist() == by_oracles.purity.tolist()
