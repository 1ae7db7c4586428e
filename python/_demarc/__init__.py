"""demarc's recorder: observes a Python web service from inside, with the standard library only.

Read in this order: start (what happens at the start of a process), config, imports (how modules are hooked when they
are imported), core (clock, ids, the current request, the buffer), hashing and redact (what may leave the process),
transport (how events reach the collector), hooks/ (one small file for each thing that is observed).
"""

VERSION = "0.1.0"
