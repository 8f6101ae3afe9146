"""What the notebooks share: figures, widgets, checks of exercises.

Imports the method and every other room; none imports it, but for the command line.
"""
