"""Model files: reading and writing, their header, quantised weights, and atomic replacement of files.

This module imports nothing, so that `storage.header` can be imported without NumPy.
"""
