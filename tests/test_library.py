"""The public front: what `import defuse` offers, what it costs, and the example of docs/library.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import defuse

ROOT = Path(__file__).resolve().parent.parent


def test_each_public_name_is_there_and_documented():
    for name in defuse.__all__:
        assert getattr(defuse, name).__doc__, name
    assert set(defuse.__all__) == set(re.findall(r"`(\w+)`", defuse.__doc__))
    assert dir(defuse) == sorted(defuse.__all__)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'find_mistaks'"):
        defuse.find_mistaks  # noqa: B018


def test_the_import_loads_nothing_else():
    code = "import sys, defuse; print(sorted(m for m in ('torch', 'pandas', 'pydantic', 'numpy') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def brightness_classifier(threshold: float) -> torch.nn.Module:
    """Class 1 where the mean of an image is above the threshold, else class 0."""
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 2))
    with torch.no_grad():
        classifier[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 1024) / 100)
        classifier[1].bias.copy_(torch.tensor([1.0, -1.0]) * threshold * 1024 / 100)
    return classifier


def test_the_example_of_the_docs_finds_and_corrects_a_bug(monkeypatch):
    """Images are bright or dark; the classifier's threshold is higher than that of the annotators."""
    monkeypatch.chdir(ROOT)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(encoding="utf-8"), re.S)
    example = {}
    exec(code.group(1), example)
    settings = example["settings"]
    small = {
        "train_vae": {"epochs": 40, "width": 4, "latent_dim": 2, "batch_size": 16},
        "distill": {"components": 2},
        "annotate": {"minimum_failures": 0.0},
    }
    example["settings"] = settings.model_copy(
        update={
            stage: {"digits": getattr(settings, stage)["digits"].model_copy(update=small.get(stage, {}))}
            for stage in ("train_vae", "identify", "distill", "annotate", "correct")
        }
    )
    brightness = torch.linspace(0, 1, 96)
    images, labels = brightness[:, None, None, None].expand(96, 1, 32, 32).contiguous(), (brightness > 0.5).long()
    with torch.random.fork_rng():
        classifier, oracles = brightness_classifier(0.6), [brightness_classifier(0.5) for _ in range(3)]
    before = [weight.clone() for weight in classifier.parameters()]
    judged, corrected = example["find_bugs"](classifier, images, labels, (images[::4], labels[::4]), oracles)
    assert defuse.RegionVerdict.ACCEPTED in [region.verdict for region in judged]
    assert all(torch.equal(*pair) for pair in zip(before, classifier.parameters()))
    bug = images[(brightness > 0.52) & (brightness < 0.58)]
    assert (defuse.predict(classifier, bug).argmax(1) == 0).all()
    assert (defuse.predict(corrected, bug).argmax(1) == 1).float().mean() > 0.5
