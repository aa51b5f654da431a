"""Serve models over HTTP: protocols, batching, limits. Needs the extra `serve`: FastAPI and uvicorn.

Importing this package imports neither; `peephole.serve.app` and `peephole.serve.server` do.
"""
