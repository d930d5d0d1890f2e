"""The page at / and the JSON that it reads (docs/status-page.md)."""
