"""From a prompt to an answer: admission, guard, token ids to text."""
