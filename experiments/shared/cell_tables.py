"""The tables of a cell that results/ keeps: the stage that writes each, its file, and the columns used there."""

ACCURACIES = ("test_accuracy", "region_test_accuracy")


TABLES = {
    "classifier_curve": ("train_classifier", "curve.csv"),
    "vae_curve": ("train_vae", "curve.csv"),
    "kl_per_dimension": ("train_vae", "kl_per_dimension.csv"),
    "class_pairs": ("identify", "class_pairs.csv"),
    "noise": ("ablate_noise", "noise.csv", "noise"),
    "causes": ("annotate", "causes.csv", "cause"),
    "regions": ("annotate", "regions.csv", "region", "verdict", "failure_rate", "share_of_mistakes"),
    "acceptance": ("annotate", "acceptance.csv"),
    "corrected_regions": ("correct", "regions.csv"),
    "lambda_sweep": ("correct", "sweep.csv", "arm", "chosen", *ACCURACIES),
    "searches": ("ablate_search", "searches.csv", "search"),
    "vaes": ("ablate_vae", "vaes.csv", "vae"),
    "taus": ("ablate_regions", "tau.csv", "tau"),
    "mixtures": ("ablate_regions", "mixtures.csv", "components", "concentration_prior"),
    "rivals": ("compare_rivals", "rivals.csv", "arm", "test_accuracy", "region_test_accuracy", "mistake_test_accuracy"),
    "planted": ("plant_bugs", "planted.csv", "bug", "arm", "strength", "found", "took"),
    "baseline": ("finetune_baseline", "baseline.csv", "chosen", *ACCURACIES),
}
