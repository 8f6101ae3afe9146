"""Weights: files written whole or not at all, their formats, checkpoints, what is published.

Imports the method and no other room.
"""
