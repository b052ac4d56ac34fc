"""What each workload brings to the training loop, and its trained model in use. These modules load torch."""
