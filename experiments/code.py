"""Write, for each stage, a digest of the code that can run in it: what the stage depends on instead of source files."""

from pathlib import Path

from defuse.core.storage import write_text
from experiments.running.code_digest import stage_digests
from experiments.shared.cell import Cell
from experiments.shared.command import gathering_command


def write_digests(cell: Cell) -> str:
    """Write the digests of all stages."""
    texts = stage_digests(Path())
    for stage, text in texts.items():
        write_text(cell.results / "code" / f"{stage}.txt", text)
    lines = [len(text.splitlines()) - 1 for text in texts.values()]
    return f"{len(texts)} stages of {min(lines)} to {max(lines)} definitions"


if __name__ == "__main__":
    gathering_command("code", write_digests, __doc__)
