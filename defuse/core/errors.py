"""Every error of this package that a user can meet; `DefuseError` stands above them all."""


class DefuseError(Exception):
    """What all errors of this package are; its text is for the user, who needs no traceback."""


class ParamsError(DefuseError):
    """`params.yaml` is unreadable or holds values that are not allowed; the message lists all of them."""


class StorageError(DefuseError):
    """A file that is missing, damaged or of another kind than its reader expects."""


class MissingFileError(StorageError):
    """A file that is not there."""


class DataError(DefuseError):
    """A data set that is missing, damaged, or not what its name says."""


class ClassifierError(DefuseError):
    """A classifier of the user's that cannot be debugged as it is; the message says what it does and what it should."""


class DivergedError(DefuseError):
    """A training whose loss, weights or buffers are no longer finite numbers."""


class SearchError(DefuseError):
    """A search whose results would mean nothing."""


class DistillationError(DefuseError):
    """Codes that no mixture can be fitted to, or regions that cannot be sampled."""


class VotesError(DefuseError):
    """Votes of people that do not fit what was shown; the message names file and line."""


class PlantingError(DefuseError):
    """A bug that the data set has no images for."""


class SummaryError(DefuseError):
    """Cells that are missing, or left over from other params."""


class ClaimsError(DefuseError):
    """Tables in `results/` that do not belong to the current params."""


class NotebookError(DefuseError):
    """A notebook that does not take the parameters it is given, or fails."""


class PipelineError(DefuseError):
    """A target that selects nothing, or what DVC finds wrong: with the repository, with a stage, or in its run."""


class ReplicationError(DefuseError):
    """A number of jobs that is not allowed, or a folder where another replication runs."""


class ClusterError(DefuseError):
    """A run on several machines that cannot start."""


class VerificationError(DefuseError):
    """A `dvc.lock` that is missing, damaged or empty, or an output that cannot be read."""


class RunError(DefuseError):
    """A folder without a run on one's own classifier, or with another one; or a step that comes too early."""


class BundleError(DefuseError):
    """A data set that is not recorded whole, or an archive of one that is damaged, unsafe or of another commit."""
