"""What the notebooks share: figures, widgets, checks of exercises."""
