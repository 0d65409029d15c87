"""Hash every output that `dvc.lock` records again, and DVC's cache, and name what differs; no DVC stage."""

from pathlib import Path
from typing import Annotated

import typer

from defuse.core.errors import VerificationError
from experiments.running.verification import CHANGED, IN_CACHE, MISSING, Finding, verify
from experiments.shared.cell import ARTIFACTS

WHAT = {
    CHANGED: "changed: {path} of {stage}: recorded {recorded}, found {found}",
    MISSING: "missing: {path} of {stage}: recorded {recorded}",
    IN_CACHE: "DVC's cache: {path} of {stage}: the object {recorded} is {found}",
}


def sentence(finding: Finding) -> str:
    """One line on a finding."""
    return WHAT[finding.kind].format(
        path=finding.path,
        stage=finding.output.stage,
        recorded=finding.recorded or "nothing",
        found=finding.found or "nothing",
    )


def in_git(path: str) -> bool:
    """Whether an output belongs to every clone; artifacts have to be made."""
    return not Path(path).is_relative_to(ARTIFACTS)


def check(artifacts_too: bool) -> int:
    """Print what differs and the counts; the exit status."""
    report = verify(Path())
    absent = [
        finding
        for finding in report.findings
        if finding.kind == MISSING and not artifacts_too and not in_git(finding.path)
    ]
    failures = [finding for finding in report.findings if finding not in absent]
    for finding in failures:
        print(sentence(finding))
    wrong = {finding.output for finding in report.findings if finding.kind != IN_CACHE}
    missing = sum(finding.kind == MISSING for finding in failures)
    bad_objects = sum(finding.kind == IN_CACHE for finding in failures)
    print(
        f"verify: {'FAILED' if failures else 'passed'}. Outputs in dvc.lock: {len(report.outputs)}, of them "
        f"{len(report.outputs) - len(wrong)} as recorded, {len(wrong) - missing - len(absent)} changed, "
        f"{missing} missing, {len(absent)} not made here. "
        f"Objects in DVC's cache: {report.objects}, of them {bad_objects} changed."
    )
    return int(bool(failures))


ALL = "outputs in artifacts/ must be there too, as after a whole `dvc repro`"


def command(everything: Annotated[bool, typer.Option("--all", help=ALL)] = False) -> None:
    """Verify and end with the status."""
    try:
        status = check(everything)
    except VerificationError as error:
        raise SystemExit(f"verify: {error}") from None
    raise SystemExit(status)


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
