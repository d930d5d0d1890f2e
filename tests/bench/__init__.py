"""Speed and memory as ratios against the bare tools in the same run. `make bench`; not run by `make test`."""
