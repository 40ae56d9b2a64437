"""What selectors and deduplication stand on: similarity, coverage, clusters, MinHash."""
