"""`python -m peephole` is `peephole`: the command line, which Ctrl-C also ends while it is still being imported."""

import sys

try:
    from peephole.cli import main
except KeyboardInterrupt:
    sys.exit(130)  # without a traceback, as `main` does it

if __name__ == "__main__":
    main()
