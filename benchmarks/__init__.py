"""lmlab beside transformers, on the same weights, in one run: `make bench`, or `python -m benchmarks`."""
