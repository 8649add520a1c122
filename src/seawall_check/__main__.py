"""`python -m seawall_check`."""

from seawall_check.cli import main

main()
