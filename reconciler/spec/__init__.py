"""network.yaml → Spec. `load.py` is the way in."""
