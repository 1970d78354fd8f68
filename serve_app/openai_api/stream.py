"""From an answer's pieces to the response: one whole body, or server-sent events.

Output contract: the first event follows the engine's first chunk, so an engine's failure or refusal before it has its
own status. A failure in the middle of a stream is one last event with the error envelope and no `[DONE]`: clients raise
it.
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
    """Returns the answer's pieces, through the guard's filters where there are any."""
    filters = [] if guard is None else [each for each in (guard.outbound() for _ in job.generations) if each]
    return _guarded(engine, filters, job) if filters else answer.pieces(engine, job)


async def _guarded(engine: Engine, filters: list[Outbound], job: Job) -> AsyncGenerator[list[Piece], None]:
    """Yields the filtered pieces; ends with the last choice, or when every open choice was refused."""
    over: set[int] = set()
    async with aclosing(answer.pieces(engine, job)) as batches:
        async for batch in batches:
            shown = []
            for piece in batch:
                if piece.index in over:
                    continue  # refused before
                outbound = filters[piece.index]
                text = await outbound.push(piece.text, piece.finish_reason is not None)
                reason = "content_filter" if outbound.refused else piece.finish_reason
                if outbound.refused:
                    job.token_times[piece.index].finish_reason = reason
                piece = replace(piece, text=text, finish_reason=reason)
                if piece.finish_reason is not None:
                    over.add(piece.index)
                if piece.text or piece.scored or piece.finish_reason is not None:
                    shown.append(piece)
            if shown:
                yield shown
            if len(over) == len(filters):
                return


async def completion(engine: Engine, guard: Guard | None, job: Job, form: Format) -> Completion | TextCompletion:
    """Returns the whole answer."""
    parts: list[list[Piece]] = [[] for _ in job.generations]
    async with aclosing(_pieces(engine, guard, job)) as batches:
        async for batch in batches:
            for piece in batch:
                parts[piece.index].append(piece)
    return form.whole(job, [_joined(index, pieces) for index, pieces in enumerate(parts)])


def _joined(index: int, pieces: list[Piece]) -> Piece:
    scored = [token for piece in pieces for token in piece.scored]
    return Piece(index, "".join(piece.text for piece in pieces), scored, pieces[-1].finish_reason if pieces else None)


async def events(engine: Engine, guard: Guard | None, job: Job, form: Format) -> AsyncGenerator[str, None]:
    """Yields the answer as server-sent events, one string a batch; raises only before the first string."""
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
