"""``python -m controller`` is ``hotswitch``."""

from controller.cli import main

main()
