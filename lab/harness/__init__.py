"""The lab's harness: starts a service under demarc, drives it, and judges what demarc says of it.

Standard library only, Python 3.9 and later, like the other scripts of the checkout.
"""
