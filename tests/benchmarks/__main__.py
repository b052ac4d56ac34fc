"""Run every benchmark: `make bench`."""

from tests.benchmarks import bookkeeping, cells, full_backpropagation, sequence_memory, training_loop

bookkeeping.main()
training_loop.main()
cells.main()
sequence_memory.main()
full_backpropagation.main()
