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
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_docs_runs(monkeypatch, make_classifier):
    monkeypatch.chdir(ROOT)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(encoding="utf-8"), re.S)
    example = {}
    exec(code.group(1), example)
    settings = example["settings"]
    cut = {"epochs": 1, "warmup_steps": 0, "width": 4, "latent_dim": 2}
    small = {"train_vae": cut, "identify": {"draws": 6}, "distill": {"components": 2}, "correct": {"steps": 2}}
    # Every region passes for a bug, so that the correction runs too.
    small["annotate"] = {"minimum_agreement": 0.0, "maximum_abstention": 1.0, "minimum_failures": 0.0}
    example["settings"] = settings.model_copy(
        update={
            stage: {"digits": getattr(settings, stage)["digits"].model_copy(update=change)}
            for stage, change in small.items()
        }
    )
    images = torch.rand((48, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(48) % 3
    classifier, oracles = make_classifier(), [make_classifier(seed) for seed in (1, 2, 3)]
    before = [weight.clone() for weight in classifier.parameters()]
    judged, corrected = example["find_bugs"](classifier, images, labels, (images[:12], labels[:12]), oracles)
    assert judged and all(torch.equal(*pair) for pair in zip(before, classifier.parameters()))
    assert not all(torch.equal(*pair) for pair in zip(before, corrected.parameters()))
