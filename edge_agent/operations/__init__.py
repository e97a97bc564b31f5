"""What operators need: logs, benchmarks."""
