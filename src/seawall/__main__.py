"""`python -m seawall` is `seawall`."""

from seawall.cli import main

main()
