"""The checker: which mistakes it keeps, by a threshold from validation images, and when it says that it cannot work."""

import numpy as np
import pytest
import torch
from test_oracles import Sure, bright
from test_rivals import RIVALS

from defuse.studies.checker import Checker, calibrate_checker, label_probability


def validation(*values):
    """Images as bright as `values`; those above a half are of class 1."""
    return bright(*values), (torch.tensor(values) > 0.5).long()


def calibrated(data, **changes):
    return calibrate_checker(Sure(), data, RIVALS.model_copy(update=changes), torch.Generator().manual_seed(0))


def test_an_image_passes_as_its_label_from_the_threshold_on():
    checker = Checker(Sure(), 0.7, 1.0, 0.0, works=True)
    images, labels = bright(0.69, 0.71, 0.31, 0.29), np.array([1, 1, 0, 0])
    assert checker.passes(images, labels).tolist() == [False, True, False, True]
    assert label_probability(Sure(), images, torch.from_numpy(labels)) == pytest.approx([0.69, 0.71, 0.69, 0.71])


def test_a_checker_that_does_not_work_keeps_nothing():
    assert not Checker(Sure(), 0.0, 0.5, 0.9, works=False).passes(bright(0.9, 0.9), np.ones(2, int)).any()
    assert Checker(Sure(), 0.0, 1.0, 0.0, works=True).passes(bright()[:0], np.zeros(0, int)).shape == (0,)


def test_the_threshold_is_where_as_many_blends_pass_as_the_params_say():
    dark, light = np.linspace(0, 0.2, 40), np.linspace(0.8, 1, 40)
    data = validation(*dark, *light)
    thresholds = {share: calibrated(data, blends_passed=share).threshold for share in (0.05, 0.5)}
    # Blends lie between 0.4 and 0.6, so that the network is sure of none by more than 0.6.
    assert 0.5 < thresholds[0.5] < thresholds[0.05] < 0.6
    assert calibrated(data).originals_passed == 1.0 and calibrated(data).works


def test_the_threshold_is_lowered_until_enough_validation_images_pass():
    dark, light, doubtful = np.linspace(0, 0.1, 20), np.linspace(0.9, 1, 20), np.full(20, 0.55)
    checker = calibrated(validation(*dark, *light, *doubtful), blends_passed=0.05, maximum_blends=1.0)
    assert checker.originals_passed >= 0.8 and checker.threshold == pytest.approx(0.55) and checker.works
    assert checker.blends_passed > 0.05


def test_a_checker_that_then_takes_too_many_blends_for_one_class_cannot_work():
    # As unsure of half of the originals as of a blend.
    data = validation(*[0.0] * 10, *[1.0] * 10, *[0.49] * 10, *[0.51] * 10)
    checker = calibrated(data, minimum_originals=0.8)
    assert checker.originals_passed == 1.0 and checker.blends_passed > 0.3 and not checker.works
    assert calibrated(data, minimum_originals=0.8, maximum_blends=checker.blends_passed).works


def test_of_one_class_there_is_no_blend_and_no_checker():
    checker = calibrated(validation(0.8, 0.9, 0.95))
    assert checker.threshold == 1.0 and not checker.works
