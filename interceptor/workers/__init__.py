"""Several processes that serve as one proxy: the parent, its workers, and what they share."""
