"""Plans and findings for people and machines: text, diff, markdown, JSON, files."""
