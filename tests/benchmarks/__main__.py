"""Run every benchmark: `make bench`."""

from tests.benchmarks import bookkeeping, training_loop

bookkeeping.main()
training_loop.main()
