"""Run every benchmark: `make bench`."""

from tests.benchmarks import bookkeeping, cells, full_backpropagation, recurrence, sequence_memory, training_loop

bookkeeping.main()
training_loop.main()
cells.main()
recurrence.main()
sequence_memory.main()
full_backpropagation.main()
