"""Counts until it is ended; a breakpoint in visit stops it."""
import os
import sys
import time


def visit(count, name, mine):
    doubled = count * 2
    print("visit", count, doubled, name, mine, flush=True)
    return doubled


for count in range(1, 3000):
    visit(count, os.environ.get("POD_NAME"), os.environ.get("MINE"))
    if len(sys.argv) > 1 and count == int(sys.argv[1]):
        sys.exit(3)
    time.sleep(0.02)
