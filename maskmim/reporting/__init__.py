"""Progress lines, logs and pictures of a run."""
