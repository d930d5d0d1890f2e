"""The VM tier: tests of what the running kernel lacks, in a stock Debian kernel under QEMU.

`make test-vm` runs it; see __main__.py.
"""
