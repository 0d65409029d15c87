"""Write the generated parts of README, the report and the GPU's page from `results/` (`make readme`); no DVC stage."""

from pathlib import Path

from defuse.core.errors import DefuseError
from defuse.core.params_file import load_params
from defuse.core.storage import write_text
from defuse.showing.gpu_page import PAGE, gpu_blocks
from defuse.showing.report import with_results
from defuse.showing.written_pages import APPENDIX, README, REPORT, appendix_blocks, readme_blocks, report_blocks
from experiments.shared.cell import PARAMS, RESULTS

PAGES = {README: readme_blocks, REPORT: report_blocks, APPENDIX: appendix_blocks, PAGE: gpu_blocks}


def write_blocks(page: Path, blocks: dict[str, str]) -> None:
    """Put each block between its marks in a page."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = with_results(text, block, name)
    write_text(page, text)


def write_pages() -> None:
    """Rewrite the generated parts of all pages."""
    datasets = list(load_params(PARAMS).datasets)
    for page, blocks in PAGES.items():
        write_blocks(page, blocks(RESULTS, datasets))


if __name__ == "__main__":
    try:
        write_pages()
    except (DefuseError, OSError, ValueError) as error:
        raise SystemExit(f"readme: {error}") from None
