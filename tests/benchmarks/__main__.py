"""Run every benchmark: `make bench`."""

from tests.benchmarks import bookkeeping, sequence_memory, training_loop

bookkeeping.main()
training_loop.main()
sequence_memory.main()
