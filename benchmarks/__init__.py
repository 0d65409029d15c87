"""What the package costs on this machine, as ratios: `python -m benchmarks` (docs/performance.md)."""

import experiments  # noqa: F401  (it refuses to run on another clone's files)
