"""What the package costs on the machine at hand, as ratios: `python -m benchmarks` (docs/performance.md)."""
