"""Files: one model in one file, its header, quantised weights, and writing a file whole or not at all.

Nothing is imported here: reading a header (`storage.header`) does without NumPy.
"""
