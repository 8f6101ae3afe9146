"""Pictures: procedural scenes and photographs, what is done to them, and sets of them.

Imports the method and :mod:`lama_ref.weights`.
"""
