"""Bytes that the kernel sends, as values. Pure; no socket here."""
