"""Memory that ran out: how to tell, and which parameter to lower."""

from typing import Any

from defuse.core.params import Settings

# What decides how much memory a stage takes; {} stands for the data set.
MEMORY = {
    "train_classifier": ("train_classifier.{}.batch_size",),
    "train_vae": ("train_vae.{}.batch_size",),
    "train_released_vae": ("train_released_vae.{}.batch_size",),
    "train_features": ("train_features.{}.batch_size",),
    "train_checker": ("train_checker.{}.batch_size",),
    "train_oracle": ("train_oracle.{}.batch_size",),
    "identify": ("identify.{}.batch_size", "identify.{}.draws", "identify.{}.keep"),
    "ablate_noise": ("ablate_noise.{}.draws", "ablate_noise.{}.seed_images"),
    "ablate_search": ("ablate_search.{}.seed_images", "ablate_search.{}.judged_mistakes"),
    "ablate_vae": ("train_vae.{}.batch_size", "ablate_vae.{}.seed_images"),
    "ablate_regions": ("distill.{}.fit_codes", "ablate_regions.{}.samples"),
    "compare_readings": ("correct.{}.batch_size", "distill.{}.fit_codes", "compare_readings.{}.seed_images"),
    "distill": ("distill.{}.fit_codes", "distill.{}.components", "distill.{}.correction_samples"),
    "show_regions": ("distill.{}.shown_samples",),
    "vote": ("distill.{}.shown_samples",),
    "annotate": ("distill.{}.test_samples", "annotate.{}.annotated_mistakes"),
    "correct": ("correct.{}.batch_size", "distill.{}.correction_samples"),
    "finetune_baseline": ("finetune_baseline.{}.batch_size", "annotate.{}.annotated_mistakes"),
    "novelty": ("novelty.{}.samples", "distill.{}.test_samples"),
    "summarize": ("summarize.{}.tsne_codes",),
    "plant_bugs": ("train_classifier.{}.batch_size", "plant_bugs.{}.seed_images"),
}


def ran_out_of_memory(error: Exception) -> bool:
    """Whether Python or NumPy (MemoryError) or torch (RuntimeError, told by its words alone) had no memory left."""
    words = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
    said = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return said or isinstance(error, MemoryError)


def memory_message(settings: Settings, stage: str, dataset: str | None) -> str:
    """What to lower in `params.yaml`, and its value now, after `stage` ran out of memory."""
    held = []
    for key in (name.format(dataset) for name in MEMORY.get(stage, ())):
        value: Any = settings
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        held.append(f"{key} (now {value})")
    if not held:
        return "out of memory; no parameter lowers what this stage takes"
    return f"out of memory; lower {' or '.join(held)} in params.yaml, or run fewer stages at once"
