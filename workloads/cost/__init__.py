"""What a trial will cost, known before it is trained: its peak memory and its time, measured on the device at hand.

`sizes` says what a workload's data add to the hyperparameters; `memory` predicts, in plain Python and microseconds;
`measure` finds the figures that it predicts from, and `timing` times updates at a setting's own sizes: both need torch.
"""
