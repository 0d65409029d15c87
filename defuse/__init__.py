"""Defuse: find, name and correct an image classifier's bugs beyond its test set.

The names below are all that a user of the library needs; docs/library.md shows them at work. They are loaded when
they are first asked for, so that `import defuse` itself costs nothing.

Images are float32 (N, C, H, W) in [0, 1], labels int64 (N,), latent codes float32 (N, latent_dim).

- your own classifier, from end to end: `OwnClassifier`, `read_image_folder`, `images_from_arrays`, `load_settings`,
  `find_bugs`, `Findings`, `load_findings`, `write_label_page`, `correct_bugs`, `export_regions`, `report_bugs`

The paper's steps one by one:

- settings and randomness: `load_params`, `Settings`, `Streams`
- networks: `build_classifier`, `VAE`, `FeatureLayers`, `set_up_machine`, `train_classifier`, `train_vae`,
  `save_network`, `load_network`, `predict`, `encode`, `decode`
- identification: `Subject`, `prepare_seeds`, `find_mistakes`
- distillation: `fit_regions`, `sample_regions`
- annotation: `Annotators`, `calibrate_threshold`, `judge_regions`, `causes_of_mistakes`, `Cause`, `RegionVerdict`
- correction: `label_regions`, `draw_batches`, `correct`, `finetune_baseline`, `choose_arm`
- novelty: `nearest_mistakes`
- errors: `DefuseError`, above all others of this package
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defuse.annotators.oracles import Annotators, calibrate_threshold, judge_regions
    from defuse.core.errors import DefuseError
    from defuse.core.params import Settings
    from defuse.core.params_file import load_params
    from defuse.core.random_streams import Streams
    from defuse.core.verdicts import Cause, RegionVerdict
    from defuse.data.own_images import images_from_arrays, read_image_folder
    from defuse.debugging.annotating import write_label_page
    from defuse.debugging.correcting import correct_bugs, export_regions
    from defuse.debugging.finding import Findings, find_bugs, load_findings
    from defuse.debugging.reporting import report_bugs
    from defuse.debugging.settings import load_settings
    from defuse.method.annotation import causes_of_mistakes
    from defuse.method.correction import choose_arm, correct, draw_batches, finetune_baseline, label_regions
    from defuse.method.distillation import fit_regions, sample_regions
    from defuse.method.identification import find_mistakes, prepare_seeds
    from defuse.method.novelty import nearest_mistakes
    from defuse.models.autoencoder import VAE
    from defuse.models.autoencoder_training import train_vae
    from defuse.models.classifiers import build_classifier
    from defuse.models.evaluation import decode, encode, predict
    from defuse.models.features import FeatureLayers
    from defuse.models.machine import set_up_machine
    from defuse.models.own_classifier import OwnClassifier
    from defuse.models.saved_networks import load_network, save_network
    from defuse.models.subject import Subject
    from defuse.models.training import train_classifier

_HOMES = {
    "Annotators": "annotators.oracles",
    "Cause": "core.verdicts",
    "DefuseError": "core.errors",
    "Findings": "debugging.finding",
    "FeatureLayers": "models.features",
    "OwnClassifier": "models.own_classifier",
    "RegionVerdict": "core.verdicts",
    "Settings": "core.params",
    "Streams": "core.random_streams",
    "Subject": "models.subject",
    "VAE": "models.autoencoder",
    "build_classifier": "models.classifiers",
    "calibrate_threshold": "annotators.oracles",
    "causes_of_mistakes": "method.annotation",
    "choose_arm": "method.correction",
    "correct": "method.correction",
    "correct_bugs": "debugging.correcting",
    "decode": "models.evaluation",
    "draw_batches": "method.correction",
    "encode": "models.evaluation",
    "export_regions": "debugging.correcting",
    "find_bugs": "debugging.finding",
    "find_mistakes": "method.identification",
    "finetune_baseline": "method.correction",
    "fit_regions": "method.distillation",
    "images_from_arrays": "data.own_images",
    "judge_regions": "annotators.oracles",
    "label_regions": "method.correction",
    "load_findings": "debugging.finding",
    "load_network": "models.saved_networks",
    "load_params": "core.params_file",
    "load_settings": "debugging.settings",
    "nearest_mistakes": "method.novelty",
    "predict": "models.evaluation",
    "prepare_seeds": "method.identification",
    "read_image_folder": "data.own_images",
    "report_bugs": "debugging.reporting",
    "sample_regions": "method.distillation",
    "save_network": "models.saved_networks",
    "set_up_machine": "models.machine",
    "train_classifier": "models.training",
    "train_vae": "models.autoencoder_training",
    "write_label_page": "debugging.annotating",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Load one of the names when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'defuse' has no attribute {name!r}")
    return getattr(import_module(f"defuse.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The names, sorted."""
    return sorted(_HOMES)
