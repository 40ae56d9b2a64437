"""The middle floor: tables, shards, steps, engines, sampling and export."""
