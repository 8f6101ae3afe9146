"""Is it better? Metrics, classical baselines, comparisons with intervals, the paper's tables.

Imports the method, inference included, and every room but the course.
"""
