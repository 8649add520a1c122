"""A plugin for pytest: the clock is a day ahead, for whoever asks what of a collection depends on when it is made."""

from __future__ import annotations

import time

really = time.time
time.time = lambda: really() + 86_400
