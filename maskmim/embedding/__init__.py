"""Features of whole sources as files: read, encoded and written in parts; see docs/embed.md."""
