"""Plan before run: models and cards, memory and speed, what `auto` means on this machine."""
