"""Distillation: cluster the codes of mistakes into misclassification regions (paper, distillation step)."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from defuse import params


class DistillationError(Exception):
    """Codes that no mixture can be fitted to, or regions that cannot be sampled."""


@dataclass(frozen=True)
class Regions:
    """Mixture components heavy enough to be regions, the heaviest first.

    Attributes:
        weight: float64 (R,), mixture weights.
        mean: float64 (R, latent_dim).
        covariance: float64 (R, latent_dim, latent_dim).
        assignment: int64 (M,), region of each mistake, or -1 where its component is no region.
        converged: whether the fit converged within its iterations.
        iterations: iterations used.
        fitted: bool (M,), the mistakes that the mixture was fitted on.
    """

    weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    assignment: np.ndarray
    converged: bool
    iterations: int
    fitted: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)


def fit_regions(codes: np.ndarray, settings: params.Distill, random_state: int) -> Regions:
    """Fit a Dirichlet-process Gaussian mixture and keep the components above the weight cut-off.

    With fewer codes than components the truncation is lowered to the number of codes; with fewer than two
    codes there is no region.

    Args:
        codes: float32 (M, latent_dim) of the mistakes.
        settings: truncation, prior, iterations, cut-off, and how many codes the fit draws.
        random_state: of the draw and of the fit's initialisation.

    Raises:
        DistillationError: the codes lie too far apart for covariances in float64.
    """
    count, latent_dim = codes.shape
    fitted = np.zeros(count, bool)
    if count < 2:
        return Regions(np.zeros(0), np.zeros((0, latent_dim)), np.zeros((0, latent_dim, latent_dim)),
                       np.full(count, -1), True, 0, fitted)
    generator = np.random.default_rng(random_state)
    fitted[generator.choice(count, min(settings.fit_codes, count), replace=False)] = True
    mixture = BayesianGaussianMixture(
        n_components=min(settings.components, int(fitted.sum())),
        covariance_type="full",
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=settings.concentration_prior,
        max_iter=settings.max_iterations,
        random_state=random_state,
    )
    with warnings.catch_warnings():
        # Recorded in `converged` and shown; a warning on top would be noise.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            mixture.fit(codes[fitted].astype(np.float64))
        except ValueError as error:
            raise DistillationError(
                f"no mixture can be fitted to {len(codes)} codes from {codes.min():g} to {codes.max():g} ({error}); "
                "allowed: codes nearer to each other, which a lower scale of the noise in identify gives"
            ) from error
    order = np.argsort(-mixture.weights_, kind="stable")
    kept = order[mixture.weights_[order] > settings.minimum_weight]
    region_of = np.full(len(order), -1)
    region_of[kept] = np.arange(len(kept))
    return Regions(
        mixture.weights_[kept], mixture.means_[kept], mixture.covariances_[kept],
        region_of[mixture.predict(codes.astype(np.float64))], bool(mixture.converged_), int(mixture.n_iter_), fitted,
    )  # fmt: skip


def sample_regions(regions: Regions, samples: int, tau: float, generator: np.random.Generator) -> np.ndarray:
    """Codes float32 (R, samples, latent_dim) drawn from N(mean, tau * covariance) of each region.

    Raises:
        DistillationError: a drawn code is beyond float32.
    """
    drawn = [
        generator.multivariate_normal(mean, tau * covariance, samples, method="cholesky")
        for mean, covariance in zip(regions.mean, regions.covariance)
    ]
    shape = (len(regions), samples, regions.mean.shape[1])
    with np.errstate(over="ignore"):  # said below
        codes = np.array(drawn, dtype=np.float32).reshape(shape)
    if not np.isfinite(codes).all():
        raise DistillationError(f"tau is {tau:g} and draws codes beyond float32; allowed: a lower one")
    return codes
