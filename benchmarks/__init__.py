"""The figures we claim, as commands that measure us and the peers side by side."""
