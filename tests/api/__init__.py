"""A small Kubernetes API for tests: real HTTP on loopback, and the behaviour that clients must cope with.

What it does is what a real kube-apiserver (1.36) was seen to do; tests/kube runs the same tests on one.
"""
