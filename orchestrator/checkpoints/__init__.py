"""Checkpoints: where they are kept, which one a trial goes on from, and when they go."""
