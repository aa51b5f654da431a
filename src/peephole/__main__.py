"""`python -m peephole` is `peephole`."""

from peephole.cli import main

main()
