"""From what was read to what trains: the recipe, the split, the output shards, the counts."""
