"""The arguments that /v1/chat/completions and /v1/completions share, and the refusal of an argument.

Output contract: a request that validates is well-formed. Like OpenAI's, an unknown argument is refused (400); what is
unknown inside a message is ignored. Arguments that are not implemented are accepted at their neutral value and refused
at any other (400, `unsupported_parameter`); those without effect on the answer (`user`, `metadata`, ...) are ignored.
Requests are made from JSON text (`model_validate_json`): its reader refuses half a surrogate pair, which UTF-8 lacks.
This module does not know tokens, models or HTTP; `prepare` refuses what an engine cannot do.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MAX_STOPS = 4
MAX_CHOICES = 128
SEED = 2**63  # a seed is a signed 64-bit integer


def unsupported(why: str) -> PydanticCustomError:
    """Returns the error of an argument that has no effect here; `why` is a sentence without its point."""
    return PydanticCustomError("unsupported", "{why}", {"why": why})


def missing(argument: str) -> PydanticCustomError:
    """Returns a model's error: it needs this argument."""
    return PydanticCustomError("missing", "missing", {"argument": argument})


def fault(argument: str, why: str) -> PydanticCustomError:
    """Returns a model's error that lies in one of its arguments; `why` goes on after "Invalid value for ARGUMENT:"."""
    return PydanticCustomError("fault", "{why}", {"why": why, "argument": argument})


class Neutral:
    """Annotation of an argument that is not implemented: accepts only these values."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def _check(self, value: Any) -> Any:
        if not any(
            value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in self.values
        ):
            taken = " or ".join(map(json.dumps, self.values))
            raise unsupported(f"not supported by this service, which takes {taken} alone: leave it out")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.values)}


Ignored = Annotated[Any, WithJsonSchema({})]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Sent(Strict):
    """A part of the conversation, as clients send it back: what is not known in it is ignored."""

    model_config = ConfigDict(extra="ignore")


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Options(Strict):
    """The arguments of both requests. null means the default everywhere."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-SEED, lt=SEED)] | None = None
    max_tokens: Count | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: Annotated[Any, Neutral(None, {})] = None
    user: Ignored = None

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if stop == "" or (isinstance(stop, list) and "" in stop):
            raise fault("", "a stop string must not be empty")
        return stop

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def limit(self) -> tuple[str, int | None]:
        """The argument that bounds the answer's tokens, and its value; None is the service's default."""
        return "max_tokens", self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """The number of alternatives per token; None: no log-probabilities."""
        raise NotImplementedError

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer must meet."""
        return None
