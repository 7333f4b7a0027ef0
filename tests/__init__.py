"""Tests, and the fault harnesses that `benchmarks` runs at length."""
