"""What a stage works on: a data set, a seed where it has one, its settings, and the places of inputs and outputs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from defuse.core.params import Settings
from defuse.core.random_streams import Streams

ARTIFACTS = Path("artifacts")
RESULTS = Path("results")
PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class Cell:
    """One run of one stage.

    Attributes:
        settings: all of `params.yaml`.
        stage: name of the stage, as in `dvc.yaml`.
        dataset: empty for a stage that gathers all data sets.
        seed: None for a stage that runs once per data set.
        artifacts: folder of the large outputs.
        results: folder of the small ones, which git keeps.
    """

    settings: Settings
    stage: str
    dataset: str = ""
    seed: int | None = None
    artifacts: Path = ARTIFACTS
    results: Path = RESULTS

    def __str__(self) -> str:
        """For example "identify mnist seed 0"."""
        return " ".join(filter(None, (self.stage, self.dataset, "" if self.seed is None else f"seed {self.seed}")))

    def params(self, stage: str = "") -> Any:  # noqa: ANN401 (each stage has a model of its own)
        """The settings of a stage for this data set, by default of the cell's own."""
        return getattr(self.settings, stage or self.stage)[self.dataset]

    def at_seed(self, seed: int) -> "Cell":
        """The same with another seed, for a stage that looks into a single cell."""
        return replace(self, seed=seed)

    def folder(self, stage: str = "") -> Path:
        """Output folder of a stage that runs per data set and seed, by default of the cell's own."""
        return self.artifacts / (stage or self.stage) / self.dataset / str(self.seed)

    def dataset_folder(self, stage: str = "") -> Path:
        """Output folder of a stage that runs once per data set, by default of the cell's own."""
        return self.artifacts / (stage or self.stage) / self.dataset

    @property
    def checkpoints(self) -> Path:
        """Folder of the stage's checkpoints; outside its outputs, which DVC removes before it runs."""
        folder = self.artifacts / "checkpoints" / self.stage / self.dataset
        return folder if self.seed is None else folder / str(self.seed)

    @property
    def data_file(self) -> Path:
        """The prepared arrays of the data set."""
        return self.dataset_folder("prepare") / "data.npz"

    @property
    def tables(self) -> Path:
        """Folder of the data set's tables over seeds."""
        return self.results / self.dataset / "tables"

    @property
    def report(self) -> Path:
        """Folder of the bug atlas."""
        return self.results / "report"

    @property
    def streams(self) -> Streams:
        """The stage's random streams; those of a stage without a seed start from 0."""
        return Streams(self.seed or 0, (self.stage, self.dataset))
