"""Backpropagation through time: how far gradients travel, and what becomes of them on the way."""
