"""Pure: rows wanted and rows seen in, a plan out. Start reading at `pipeline.py`."""
