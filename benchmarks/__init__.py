"""How fast riverrun is, beside a bare relay of the same bytes: `python -m benchmarks` (on Linux)."""
