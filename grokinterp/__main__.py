"""`python -m grokinterp` is the command `grokinterp`."""

import sys

from grokinterp.cli import main


sys.exit(main())
