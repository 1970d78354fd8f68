"""From curated rows to an adapter and a merged model."""
