"""Speed and memory, measured as ratios against a peer in the same run. Run by ``make bench``."""
