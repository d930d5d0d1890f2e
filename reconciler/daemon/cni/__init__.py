"""What a daemon has to do with the container runtime: the CNI plugin asks, rounds answer (docs/cni.md)."""
