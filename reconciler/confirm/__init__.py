"""Changes that can cut the node off: they are undone by themselves unless what worked before works after.

In the order of a change: `lifeline` (does a plan touch it?), `probes` (what works
now), `journal` (the way back, on the disk before anything runs), `watchdog` (a
process that outlives us and goes that way), `commit` (all of it around one round).
"""
