"""python -m _demarc.check: says, from inside the service's environment, whether a service started here is recorded.

The recorder of this very process is looked at: it was started with the settings that a service would get. That it can
be called at all says that Python loaded the recorder; "No module named '_demarc'" says that it did not. Exit code 0:
recorded.
"""

import socket
import sys
import time

from _demarc import VERSION, config, transport

WAIT = 5.0  # seconds for the collector's answer


def reach(address):
    """Opens and closes a connection; the error says why there is none."""
    kind, _, where = address.partition(":")
    if kind == "unix":
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(transport.SEND_TIMEOUT)
        s.connect(where)
    else:
        host, _, port = where.rpartition(":")
        s = socket.create_connection((host.strip("[]"), int(port)), timeout=transport.SEND_TIMEOUT)
    s.close()


def problem():
    """What keeps this Python from being recorded, or None."""
    try:
        c = config.load()
    except (OSError, ValueError) as e:
        return "the settings cannot be read: %s: %s" % (type(e).__name__, e)
    if not c.address:
        return "DEMARC_ADDRESS is not set"
    print("recorder %s in Python %s, collector %s" % (VERSION, sys.version.split()[0], c.address))
    try:
        reach(c.address)
    except (OSError, ValueError) as e:
        return "nobody answers at %s: %s" % (c.address, e)
    sender = transport._sender
    if sender is None:
        return "the recorder did not start"
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if sender.refused:
            return "the collector refused: " + sender.refused
        if sender.sock is not None and sender.attempt == 0:  # the answer to the hello was good
            return None
        time.sleep(0.05)
    return "the collector did not answer in time"


if __name__ == "__main__":
    why = problem()
    print("ok: a service started here is recorded" if why is None else "not recorded: " + why)
    sys.exit(0 if why is None else 1)
