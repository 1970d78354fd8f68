"""From an answer's pieces to what is sent: one whole body, or server-sent events.

Output contract: nothing is sent before the engine gave something, so that an engine's failure or refusal has its own
status. A failure in the middle of a stream is one last event with the error envelope and no `[DONE]`, which clients
raise.
This module does not validate, authenticate or admit requests.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from serve_app import errors
from serve_app.engines import Engine
from serve_app.generation import answer
from serve_app.generation.answer import Job, Piece
from serve_app.generation.guard import Guard, Outbound
from serve_app.openai_api.chat import Completion
from serve_app.openai_api.completions import TextCompletion
from serve_app.openai_api.formats import Format, event

log = logging.getLogger("solotune.serve")


def _pieces(engine: Engine, guard: Guard | None, job: Job) -> AsyncGenerator[list[Piece], None]:
    """Returns the answer's pieces, through the guard where there is one that looks at answers."""
    ways = [] if guard is None else [way for way in (guard.outbound() for _ in job.generations) if way is not None]
    return _guarded(engine, ways, job) if ways else answer.pieces(engine, job)


async def _guarded(engine: Engine, ways: list[Outbound], job: Job) -> AsyncGenerator[list[Piece], None]:
    """Yields the answer's pieces as the guard lets them out; ends when it has refused every choice that was left."""
    over: set[int] = set()
    async with aclosing(answer.pieces(engine, job)) as batches:
        async for batch in batches:
            shown = []
            for piece in batch:
                way = ways[piece.index]
                if piece.index in over:
                    continue  # refused before
                text = await way.push(piece.text, piece.finish_reason is not None)
                reason = "content_filter" if way.refused else piece.finish_reason
                if way.refused:
                    job.token_times[piece.index].finish_reason = reason
                piece = replace(piece, text=text, finish_reason=reason)
                if piece.finish_reason is not None:
                    over.add(piece.index)
                if piece.text or piece.scored or piece.finish_reason is not None:
                    shown.append(piece)
            if shown:
                yield shown
            if len(over) == len(ways):
                return


async def completion(engine: Engine, guard: Guard | None, job: Job, form: Format) -> Completion | TextCompletion:
    """Returns the whole answer."""
    choices = [Piece(index, "", [], None) for index in range(len(job.generations))]
    parts: list[list[str]] = [[] for _ in choices]
    async with aclosing(_pieces(engine, guard, job)) as batches:
        async for batch in batches:
            for piece in batch:
                parts[piece.index].append(piece.text)
                choices[piece.index].scored.extend(piece.scored)
                choices[piece.index] = Piece(piece.index, "", choices[piece.index].scored, piece.finish_reason)
    whole = [Piece(at.index, "".join(parts[at.index]), at.scored, at.finish_reason) for at in choices]
    return form.whole(job, whole)


async def events(engine: Engine, guard: Guard | None, job: Job, form: Format) -> AsyncGenerator[str, None]:
    """Yields the answer as server-sent events, several in one string where they came together.

    What is raised before the first string has not been answered yet.
    """
    started = False
    async with aclosing(_pieces(engine, guard, job)) as batches:
        try:
            async for batch in batches:
                written = [] if started else list(form.start(job))
                for piece in batch:
                    written += form.piece(job, piece)
                started = True
                yield "".join(written)
        except Exception as error:
            if not started:
                raise
            log.error("request %s failed in its stream: %s", job.id, type(error).__name__)
            failure = error if isinstance(error, errors.ApiError) else errors.internal()
            yield event(failure.envelope)
            return
    yield "".join(form.end(job))
