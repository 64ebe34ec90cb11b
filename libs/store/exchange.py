"""Many commands in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import ResponseError


async def exchange(redis: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What Redis answers to each, in their order, over one connection; an error of Redis' own is the answer that it is.

    Raises what redis-py raises where the connection fails: then any of them may have been carried out. A pipeline of
    redis-py does the same for twice the processor time: it packs in Python, and each command passes six layers.
    """
    packed = b"".join(map(pack_command, commands))
    pool: Any = redis.connection_pool
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(packed)
        answers: list[Any] = []
        for command in commands:
            try:
                answer = await connection.read_response()
            except ResponseError as error:
                answer = error
            else:
                callback = redis.response_callbacks.get(command[0])
                answer = callback(answer) if callback else answer
            answers.append(answer)
        return answers
    except BaseException:
        # Answers that nobody has read would be taken for those of the next commands.
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)
