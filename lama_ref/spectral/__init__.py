"""The kit for operators of your own: transforms, mixers, blocks, a registry and a contract.

Imports :mod:`lama_ref.ffc` alone. The race between variants trains and measures, so it lives in
:mod:`lama_ref.evaluation.race`.
"""
