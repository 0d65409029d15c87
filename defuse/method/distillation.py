"""Distillation: cluster the codes of mistakes into misclassification regions (paper, distillation step)."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from defuse.core import params
from defuse.core.errors import DistillationError

RIDGE = 1e-6  # on the diagonal of a covariance, as scikit-learn adds it to a mixture's


@dataclass(frozen=True)
class Regions:
    """Mixture components heavy enough to be regions, the heaviest first.

    Attributes:
        weight: mixture weights.
        mean: of each component.
        covariance: of each component.
        assignment: region of each mistake, or -1 where its component is no region.
        converged: whether the fit converged within its iterations.
        iterations: iterations used.
        fitted: the mistakes that the mixture was fitted on.
    """

    weight: Float64[np.ndarray, "regions"]
    mean: Float64[np.ndarray, "regions latent"]
    covariance: Float64[np.ndarray, "regions latent latent"]
    assignment: Int64[np.ndarray, "mistakes"]
    converged: bool
    iterations: int
    fitted: Bool[np.ndarray, "mistakes"]

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.weight)

    def take(self, numbers: Int64[np.ndarray, "chosen"]) -> "Regions":
        """The regions `numbers`, in this order; mistakes of the others are assigned to none."""
        place = np.full(len(self) + 1, -1)  # the last for those of no region
        place[numbers] = np.arange(len(numbers))
        chosen = {name: getattr(self, name)[numbers] for name in ("weight", "mean", "covariance")}
        return replace(self, **chosen, assignment=place[self.assignment])


@contextmanager
def convergence_recorded() -> Iterator[None]:
    """Silence scikit-learn's warning: convergence is recorded and shown; a warning on top would be noise."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def no_regions(codes: Float32[np.ndarray, "mistakes latent"]) -> Regions:
    """What is found in too few codes."""
    count, latent_dim = codes.shape
    return Regions(
        np.zeros(0),
        np.zeros((0, latent_dim)),
        np.zeros((0, latent_dim, latent_dim)),
        np.full(count, -1),
        True,
        0,
        np.zeros(count, bool),
    )


def fit_regions(codes: Float32[np.ndarray, "mistakes latent"], settings: params.Distill, random_state: int) -> Regions:
    """Fit a Dirichlet-process Gaussian mixture and keep the components above the weight cut-off.

    With fewer codes than components the truncation is lowered to the number of codes; with fewer than two
    codes there is no region.

    Args:
        codes: of the mistakes.
        settings: truncation, prior, iterations, cut-off, and how many codes the fit draws.
        random_state: of the draw and of the fit's initialisation.

    Raises:
        DistillationError: the codes lie too far apart for covariances in float64.
    """
    count = len(codes)
    fitted = np.zeros(count, bool)
    if count < 2:
        return no_regions(codes)
    from sklearn.mixture import BayesianGaussianMixture

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
    with convergence_recorded():
        try:
            mixture.fit(codes[fitted].astype(np.float64))
        except ValueError as error:
            raise DistillationError(
                f"no mixture can be fitted to {len(codes)} codes from {codes.min():g} to {codes.max():g} ({error}); "
                "allowed: codes nearer to each other, which smaller noise in identify gives"
            ) from error
    order = np.argsort(-mixture.weights_, kind="stable")
    kept = order[mixture.weights_[order] > settings.minimum_weight]
    region_of = np.full(len(order), -1)
    region_of[kept] = np.arange(len(kept))
    return Regions(
        mixture.weights_[kept],
        mixture.means_[kept],
        mixture.covariances_[kept],
        region_of[mixture.predict(codes.astype(np.float64))],
        bool(mixture.converged_),
        int(mixture.n_iter_),
        fitted,
    )


def group_by_kmeans(
    codes: Float32[np.ndarray, "mistakes latent"], clusters: int, starts: int, random_state: int
) -> Int64[np.ndarray, "mistakes"]:
    """Cluster of each code; -1 for all where `clusters` is 0."""
    if clusters == 0:
        return np.full(len(codes), -1)
    from sklearn.cluster import KMeans

    return KMeans(clusters, n_init=starts, random_state=random_state).fit_predict(codes).astype(np.int64)


def kmeans_regions(
    codes: Float32[np.ndarray, "mistakes latent"], clusters: int, starts: int, random_state: int
) -> Regions:
    """The clusters of k-means as regions, with the mean and covariance of their codes: a rival of the mixture.

    Args:
        codes: of the mistakes.
        clusters: how many; at most M are made.
        starts: initialisations, of which the best is taken.
        random_state: of the initialisations.
    """
    assignment = group_by_kmeans(codes, min(clusters, len(codes)), starts, random_state)
    if assignment.max(initial=-1) < 0:
        return no_regions(codes)
    sizes = np.bincount(assignment)
    order = np.argsort(-sizes, kind="stable")
    groups = [codes[assignment == group].astype(np.float64) for group in order]
    ridge = RIDGE * np.eye(codes.shape[1])
    covariance = [np.cov(group, rowvar=False, bias=True).reshape(ridge.shape) + ridge for group in groups]
    return Regions(
        sizes[order] / len(codes),
        np.stack([group.mean(0) for group in groups]),
        np.stack(covariance),
        np.argsort(order, kind="stable")[assignment],
        True,
        0,
        np.ones(len(codes), bool),
    )


def regions_within(
    codes: Float32[np.ndarray, "mistakes latent"],
    group: Int64[np.ndarray, "mistakes"],
    components: int,
    random_state: int,
    limits: Mapping[int, int] | None = None,
) -> Regions:
    """One Gaussian mixture within each group, all of its components regions, in place of one mixture for all.

    A group gets its share of `components`, rounded; none where it rounds to 0.

    Args:
        codes: of the mistakes.
        group: of each mistake, such as its seed image's label.
        components: of all mixtures together.
        random_state: of the initialisations.
        limits: components of each group at most; None for no limit.
    """
    from sklearn.mixture import GaussianMixture

    parts, assignment, total = [], np.full(len(codes), -1), 0
    for number in np.unique(group):
        members = np.flatnonzero(group == number)
        share = round(components * len(members) / len(codes))
        count = min(share, len(members), limits[number] if limits else len(members))
        if count < 1 or len(members) < 2:
            continue
        own = codes[members].astype(np.float64)
        with convergence_recorded():
            mixture = GaussianMixture(count, reg_covar=RIDGE, random_state=random_state).fit(own)
        assignment[members] = total + mixture.predict(own)
        parts.append(
            (
                mixture.weights_ * len(members) / len(codes),
                mixture.means_,
                mixture.covariances_,
                mixture.converged_,
                mixture.n_iter_,
            )
        )
        total += count
    if not parts:
        return no_regions(codes)
    weight, mean, covariance, converged, iterations = zip(*parts)
    regions = Regions(
        np.concatenate(weight),
        np.concatenate(mean),
        np.concatenate(covariance),
        assignment,
        all(converged),
        max(iterations),
        np.ones(len(codes), bool),
    )
    return regions.take(np.argsort(-regions.weight, kind="stable"))


def sample_regions(
    regions: Regions, samples: int, tau: float, generator: np.random.Generator
) -> Float32[np.ndarray, "regions {samples} latent"]:
    """Codes drawn from N(mean, tau * covariance) of each region.

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
