"""plumbline keeps the network of Kubernetes nodes true to one network.yaml."""

__version__ = "0.1.0"
