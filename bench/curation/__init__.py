"""Curation stages and the whole, against the stock parts they are made of and against peers. See bench/README.md."""
