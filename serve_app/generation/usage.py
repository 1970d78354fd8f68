"""How many tokens a request took, in OpenAI's words."""

from __future__ import annotations

from pydantic import BaseModel


class Usage(BaseModel):
    """Tokens of the prompts and of all choices, stop tokens included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
