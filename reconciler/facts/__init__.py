"""What the cluster is and what this host is. `model.py` has the types; everything else fills them."""
