"""Published recipes, one short file each; the folder is the registry."""
