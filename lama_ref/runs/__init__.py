"""Training runs: what is trained, the loop around the step, and the files that let it survive.

Imports the method, :mod:`lama_ref.weights` and :mod:`lama_ref.pictures`.
"""
