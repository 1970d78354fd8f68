"""Files and what is inside them, opened: paths and URIs, archives, compressed files, encodings."""
