"""``python -m telephony.service KIND ID``."""

import sys

from telephony.service import main

sys.exit(main(sys.argv[1:]))
