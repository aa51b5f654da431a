"""Read and write model files, their headers and quantised weights, and replace files atomically.

This module imports nothing, so that `storage.header` can be imported without NumPy.
"""
