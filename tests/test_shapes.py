"""The shapes in the annotations of `defuse` are checked in the tests, and cost nothing in use."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from defuse.method.annotation import consensus
from defuse.method.identification import Seeds
from defuse.models.evaluation import accuracy

ROOT = Path(__file__).resolve().parent.parent


def test_images_need_as_many_labels(make_classifier, images):
    with pytest.raises(TypeCheckError, match="labels"):
        accuracy(make_classifier(), images, torch.zeros(len(images) - 1, dtype=torch.int64))


def test_votes_are_whole_numbers():
    with pytest.raises(TypeCheckError, match="votes"):
        consensus(np.zeros((2, 3)), 0.8)


def test_fields_of_a_dataclass_belong_together():
    two, three = np.zeros(2, np.int64), np.zeros(3, np.int64)
    codes = np.zeros((2, 4), np.float32)
    with pytest.raises(TypeCheckError, match="raw_prediction"):
        Seeds(two, two, codes, codes, three, three)


def test_a_result_is_checked_too(monkeypatch):
    monkeypatch.setattr(np, "full", lambda count, *_: np.zeros(count + 1, np.int64))
    with pytest.raises(TypeCheckError, match="return value"):
        consensus(np.zeros((0, 1), np.int64), 0.8)


def test_in_use_nothing_is_checked():
    code = (
        "import sys, numpy; from defuse.method.annotation import consensus; "
        "print(consensus(numpy.zeros((2, 3)), 0.8).tolist(), 'beartype' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[0, 0] False False"
