"""Starts two commands and ends when both have ended: python -m two COMMAND... -- COMMAND...

A word NAME=VALUE before a command is set in its environment, as a shell does.
"""

import os
import signal
import subprocess
import sys


def main():
    words = sys.argv[1:]
    cut = words.index("--")
    children = [start(words[:cut]), start(words[cut + 1 :])]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: [child.send_signal(signal.SIGINT) for child in children])
    return max(abs(child.wait()) for child in children)


def start(words):
    env = dict(os.environ)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    return subprocess.Popen(words, env=env)


if __name__ == "__main__":
    sys.exit(main())
