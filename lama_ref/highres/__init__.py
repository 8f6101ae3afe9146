"""Large pictures: strategies for an inpainter that was trained on small ones.

Imports the method, but no inpainter: what it needs of one is a Protocol.
"""
