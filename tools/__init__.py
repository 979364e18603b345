"""The course's own tools: scripts, run by the launcher or by hand."""
