"""The eBPF programs with real sockets and packets, loaded as the plan's lines load them.

conftest.py has the fixtures; node.py what a test holds in its hands.
"""
