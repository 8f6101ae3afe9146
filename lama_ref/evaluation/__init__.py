"""Is it better? Metrics, classical baselines and comparisons with intervals."""
