"""A user's own classifier: resized and normalised for, searched as it is, and refused where it cannot be debugged."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from defuse.core.errors import ClassifierError
from defuse.models.evaluation import predict
from defuse.models.machine import Machine
from defuse.models.own_classifier import PIXELS_AT_ONCE, OwnClassifier, check_classifier
from defuse.models.search_network import decode_and_classify
from defuse.models.subject import Subject

NAMES = ("dark", "grey", "bright")
LABELS = torch.arange(60) % 3


def random_images(count, channels=3, side=8):
    return torch.rand((count, channels, side, side), generator=torch.Generator().manual_seed(1))


class Brightness(nn.Module):
    """Logits of three classes by the mean of an image of 8x8 pixels and three channels; `change` spoils them."""

    def __init__(self, change=lambda logits: logits):
        super().__init__()
        self.register_parameter("centres", nn.Parameter(torch.tensor([0.1, 0.5, 0.9])))
        self.change, self.seen = change, []

    def forward(self, images):
        self.seen.append(images.shape)
        if images.shape[1:] != (3, 8, 8):
            raise RuntimeError(f"cannot take {tuple(images.shape[1:])}")
        return self.change(-10 * (images.mean((1, 2, 3))[:, None] - self.centres).abs())


def shades(side=8):
    """Images of NAMES' brightness and LABELS."""
    noise = 0.1 * random_images(60, side=side) - 0.05
    return (torch.tensor([0.1, 0.5, 0.9])[LABELS][:, None, None, None] + noise).clamp(0, 1)


def refusal(classifier, images=None, labels=LABELS, names=NAMES):
    with pytest.raises(ClassifierError) as caught:
        check_classifier(classifier, shades() if images is None else images, labels, names)
    return str(caught.value)


# What it computes


def test_images_are_resized_and_normalised_for_the_network():
    module = Brightness()
    own = OwnClassifier(module, 8, mean=[0.1, 0.2, 0.3], std=[0.5, 1.0, 2.0])
    images = random_images(4, side=13)
    resized = functional.interpolate(images, (8, 8), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.1, 0.2, 0.3])[:, None, None], torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    torch.testing.assert_close(own(images), module((resized - mean) / std))
    plain = OwnClassifier(module, (8, 8))
    assert torch.equal(plain(random_images(4)), module(random_images(4)))


def test_a_size_may_be_no_square():
    own = OwnClassifier(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), (4, 9), channels=1)
    with torch.random.fork_rng():
        assert own(random_images(2, 1)).shape == (2, 3)
    assert own.network[1].in_features == 36


def test_a_function_gets_channels_last_and_its_numbers_become_float32():
    seen = []

    def function(images):
        seen.append((type(images), images.dtype, images.shape))
        return images.mean((1, 2)).astype(np.float64)

    own, images = OwnClassifier(function, 8), random_images(5)
    assert own(images).dtype == torch.float32
    torch.testing.assert_close(own(images), images.mean((2, 3)))
    assert seen[0] == (np.ndarray, np.float32, (5, 8, 8, 3))
    torch.testing.assert_close(OwnClassifier(lambda given: given.mean((1, 2)).tolist(), 8)(images), own(images))


def test_no_image_has_no_logits_where_the_network_could_not_take_none():
    module = Brightness()
    assert predict(OwnClassifier(module, 8), random_images(0)).shape == (0, 3)
    assert all(shape[0] for shape in module.seen)


def test_large_images_go_through_in_parts_where_no_gradient_is_kept():
    seen = []

    def function(images):
        seen.append(len(images))
        return images.mean((1, 2))

    own = OwnClassifier(function, (2048, 1024))
    images = random_images(5, side=2)
    with torch.no_grad():
        logits = own(images)
    assert seen == [2, 2, 1] and PIXELS_AT_ONCE == 2 * 2048 * 1024
    torch.testing.assert_close(logits, images.mean((2, 3)))


def test_half_precision_logits_are_float32_and_the_network_is_in_evaluation_mode():
    module = nn.Sequential(Brightness(lambda logits: logits.half()), nn.Dropout(0.9)).train()
    own = OwnClassifier(module, 8)
    assert not module.training and own(random_images(2)).dtype == torch.float32
    predict(own, random_images(2))
    assert not module[1].training


def test_images_go_to_the_networks_own_device():
    own = OwnClassifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3, device="meta")), 8, mean=[0.5] * 3, std=[1.0] * 3)
    assert own(random_images(2)).device.type == "meta"  # stands in for a GPU


# What may be done with it


def test_only_a_network_with_weights_that_may_change_can_be_tuned():
    frozen = Brightness().requires_grad_(False)

    class WithoutGradient(Brightness):
        def forward(self, images):
            with torch.no_grad():
                return super().forward(images)

    for network in (frozen, WithoutGradient(), lambda images: images.mean((1, 2)), nn.Flatten()):
        assert not OwnClassifier(network, 8).can_be_tuned
    own = OwnClassifier(Brightness(), 8)
    with torch.inference_mode():
        assert own.can_be_tuned


def test_the_fingerprint_tells_weights_normalisation_and_size():
    def prints(change=0.0, **arguments):
        module = Brightness()
        with torch.no_grad():
            module.centres[1] += change
        return OwnClassifier(module, **{"size": 8, **arguments}).fingerprint()

    whole = {"mean": [0.0] * 3, "std": [1.0] * 3}
    different = [prints(), prints(1e-6), prints(size=9), prints(**whole)]
    assert len(set(different)) == 4 and all(re.fullmatch(r"[0-9a-f]{64}", one) for one in different)
    assert prints() == prints()
    assert OwnClassifier(lambda images: images, 8).fingerprint() is None
    assert OwnClassifier(nn.Flatten(), 8).fingerprint() is None
    assert OwnClassifier(nn.BatchNorm2d(3, dtype=torch.bfloat16), 8).fingerprint()


def test_the_search_uses_it_as_it_is(make_vae):
    class Uncopied(Brightness):
        def __deepcopy__(self, memo):
            raise RuntimeError("no copy")

    module = Uncopied()
    own, vae = OwnClassifier(module, 8), make_vae(channels=3)
    machine = Machine(torch.device("cpu"), torch.bfloat16, torch.channels_last, compiled=False)
    network = Subject(own, vae, machine).search_network
    assert module.centres.dtype == torch.float32 and next(network.parameters()).dtype == torch.bfloat16
    codes = torch.randn((6, 2), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = own(network[:2](codes.bfloat16()).float())
        assert torch.equal(network(codes.bfloat16()), expected)
        torch.testing.assert_close(decode_and_classify(vae, own)(codes), own(vae.decode(codes)))
    assert not any(name.startswith("2.") for name in network.state_dict())


def test_it_is_copied_to_be_tuned():
    own = OwnClassifier(Brightness(), 8, mean=[0.5] * 3, std=[0.2] * 3)
    twin = copy.deepcopy(own)
    assert torch.equal(twin(random_images(2)), own(random_images(2)))
    assert next(twin.parameters()) is not next(own.parameters())


# What is refused when it is made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": Brightness}, "the classifier is the class Brightness; allowed: a torch.nn.Module that is built"),
        ({"network": {"conv": 1}}, "the classifier is a dict; allowed: a torch.nn.Module that is built, or a function"),
        ({"size": 0}, "size is 0; allowed: a side, or height and width, in pixels"),
        ({"size": (8, 8, 3)}, "size is (8, 8, 3); allowed: a side, or height and width"),
        ({"size": (8.0, 8)}, "size is (8.0, 8); allowed"),
        ({"channels": 4}, "channels is 4; allowed: 1, 3"),
        ({"mean": [0.5] * 3}, "mean is [0.5, 0.5, 0.5] and std is None; allowed: both, or neither"),
        ({"mean": [0.5], "std": [0.2]}, "mean is [0.5]; allowed: one finite number per channel (3)"),
        ({"mean": [0.5] * 3, "std": [0.2, 0.2, float("nan")]}, "std is [0.2, 0.2, nan]; allowed: one finite number"),
        ({"mean": [0.5] * 3, "std": [0.2, 0.0, 0.2]}, "std is [0.2, 0.0, 0.2]; allowed: above 0"),
    ],
)
def test_arguments_that_are_none_are_refused(arguments, message):
    with pytest.raises(ClassifierError) as caught:
        OwnClassifier(**{"network": Brightness(), "size": 8, **arguments})
    assert str(caught.value).startswith(message)


# What is refused before work begins


def test_a_good_classifier_passes():
    for network in (Brightness(), lambda images: Brightness()(torch.from_numpy(images).permute(0, 3, 1, 2)).detach()):
        check_classifier(OwnClassifier(network, 8), shades(), LABELS, NAMES)
        check_classifier(OwnClassifier(network, 8), shades(side=32), LABELS, NAMES)


def test_an_error_of_the_classifier_is_told_with_what_it_got():
    assert refusal(OwnClassifier(Brightness(), (8, 9))) == (
        "the classifier fails on a float32 tensor (8, 3, 8, 9): RuntimeError: cannot take (3, 8, 9); allowed: batches of "
        "any size, of 3 channels and 8x9 pixels as its `channels` and `size` say"
    )
    assert "fails on a float32 array (8, 8, 8, 3): ZeroDivisionError" in refusal(OwnClassifier(lambda _: 1 / 0, 8))


def test_a_network_that_takes_one_batch_size_is_refused():
    fixed = OwnClassifier(lambda images: images.reshape(-1, 8, 8, 8, 3).mean((2, 3)).reshape(-1, 3)[:8], 8)
    assert refusal(fixed, shades()[:8], LABELS[:8]).startswith(
        "the classifier fails on a float32 array (1, 8, 8, 3): ValueError: cannot reshape array of size 192"
    )


def test_images_of_other_channels_are_refused():
    grey = shades().mean(1, keepdim=True)
    assert refusal(OwnClassifier(Brightness(), 8), grey) == "images have 1 channels; allowed: the classifier's 3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: [logits], "the classifier returns a list; allowed: a floating-point tensor (8, classes)"),
        (lambda logits: logits.argmax(1), "the classifier returns int64 (8,); allowed: a floating-point tensor"),
        (lambda logits: logits.mean(), "the classifier returns float32 (); allowed: a floating-point tensor"),
        (lambda logits: logits[:-1], "the classifier returns float32 (7, 3); allowed: a floating-point tensor"),
    ],
)
def test_what_is_no_logits_is_refused(change, message):
    assert refusal(OwnClassifier(Brightness(change), 8)).startswith(message)


def test_a_field_of_logits_is_pointed_at():
    class Output(dict):
        logits = None

    assert "returns a Output, whose field logits may be what is meant" in refusal(
        OwnClassifier(Brightness(lambda logits: Output(logits=logits)), 8)
    )
    assert "returns a dict; allowed" in refusal(OwnClassifier(lambda images: {"logits": images}, 8))


def test_another_number_of_logits_is_refused_with_both_numbers():
    four = ("dark", "grey", "bright", "glaring")
    assert refusal(OwnClassifier(Brightness(), 8), names=four).startswith(
        "the classifier gives 3 logits, and there are 4 classes (dark, grey, bright, glaring); allowed: a logit for each"
    )
    one = OwnClassifier(Brightness(lambda logits: logits[:, :1]), 8)
    assert refusal(one).endswith("in their order; of one logit x for two classes make (0, x)")


def test_nan_and_infinity_are_refused():
    for value in (float("nan"), float("-inf")):

        def spoil(logits, value=value):
            return torch.where(logits[:, 1:2] > -1, value, logits)

        assert refusal(OwnClassifier(Brightness(spoil), 8)) == (
            "logits of 20 of 60 images hold NaN or infinity, the first of them of image 1 (from 0); allowed: finite "
            "numbers for every image in [0, 1]"
        )


def test_probabilities_are_refused_and_their_logarithms_are_not():
    softmax = OwnClassifier(Brightness(lambda logits: logits.softmax(1)), 8)
    assert refusal(softmax).startswith("the classifier gives probabilities: no number is below 0, and each row sums")
    assert refusal(softmax).endswith("for example torch.log(probabilities)")
    check_classifier(OwnClassifier(Brightness(lambda logits: logits.log_softmax(1)), 8), shades(), LABELS, NAMES)


def test_logits_that_change_from_call_to_call_are_refused():
    generator = torch.Generator().manual_seed(0)

    def noise(logits):
        return logits + torch.randn(logits.shape, generator=generator)

    assert re.match(
        r"logits of two calls on the same images differ by up to [\d.]+ \(dropout, or noise of its own\?\); allowed: the "
        "same logits for the same image, as in evaluation mode",
        refusal(OwnClassifier(Brightness(noise), 8)),
    )


def test_logits_that_depend_on_the_batch_are_refused():
    def centred(images):
        return Brightness()(torch.from_numpy(images).permute(0, 3, 1, 2)) - images.mean() * torch.arange(3)

    message = refusal(OwnClassifier(centred, 8))
    assert message.startswith("logits of an image alone and in a batch differ by up to ")
    assert "(batch norm in training mode?)" in message


def test_weights_without_numbers_or_in_two_places_are_refused():
    assert refusal(OwnClassifier(nn.Linear(3, 3, device="meta"), 8)) == (
        "weights and buffers are: 2 on meta; allowed: all on one device with numbers (the meta device holds none: load "
        "the weights)"
    )
    both = nn.Sequential(nn.Linear(3, 3, device="meta"), nn.BatchNorm1d(3, track_running_stats=False))
    assert refusal(OwnClassifier(both, 8)).startswith(
        "weights and buffers are: 2 on cpu, 2 on meta; allowed: all on one"
    )


def test_another_order_of_the_classes_is_told():
    turned = OwnClassifier(Brightness(lambda logits: logits[:, [2, 0, 1]]), 8)
    assert refusal(turned) == (
        "the classifier is right on 0% of the images, every class counting the same, and chance is 33%; in another order "
        "of the classes it would be 100%: output 1 is dark, output 2 is grey, output 0 is bright"
    )


def test_accuracy_near_chance_is_refused_with_the_usual_reasons_whatever_the_majority():
    labels = torch.where(torch.arange(60) < 54, 0, LABELS)  # 93 % are of the first class
    constant = OwnClassifier(Brightness(lambda logits: torch.cat([0 * logits[:, :2] + 1, 0 * logits[:, :1]], 1)), 8)
    message = refusal(constant, labels=labels)
    assert message == (
        "the classifier is right on 33% of the images, every class counting the same, and chance is 33%; usual reasons: "
        "the order of the classes (here: dark, grey, bright; sorted names put 10 before 2), the normalisation (mean and "
        "std, or images of 0 to 255), the order of the channels"
    )
