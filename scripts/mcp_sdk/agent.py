"""An agent on the official SDK: waits, answers every message with its own text, and goes on whatever happens."""

import argparse
import asyncio
import contextlib
import json
import os
import sys

ERRORS = (Exception,) if sys.version_info < (3, 11) else (Exception, ExceptionGroup)


def command(arguments):
    return os.environ["BRIDGE_BIN"], ["mcp", "--url", arguments.url, "--agent", "player"]


@contextlib.asynccontextmanager
async def first_generation(arguments):
    """SDK 1.x: the protocol with sessions."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if arguments.transport == "stdio":
        program, flags = command(arguments)
        transport = stdio_client(StdioServerParameters(command=program, args=flags))
    else:
        transport = streamable_http_client(f"{arguments.url}/mcp?agent=player")
    async with transport as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        yield session


@contextlib.asynccontextmanager
async def second_generation(arguments):
    """SDK 2.x: asks first for the protocol without sessions."""
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters

    server = f"{arguments.url}/mcp?agent=player"
    if arguments.transport == "stdio":
        program, flags = command(arguments)
        server = StdioServerParameters(command=program, args=flags)
    async with Client(server) as client:
        if client.protocol_version != "2026-07-28":
            raise SystemExit(f"the SDK settled for {client.protocol_version}")
        yield client


async def call(client, tool, arguments):
    """The result of a tool. SDK 1.x does not notice that its server was killed, so it is given a moment beyond the wait."""
    result = await asyncio.wait_for(client.call_tool(tool, arguments), 12)
    text = result.content[0].text
    failed = getattr(result, "isError", None) or getattr(result, "is_error", None)
    if failed:
        raise RuntimeError(text)
    return json.loads(text)


async def answer(client, message):
    text = message["message"]
    print(f"holding {text}", flush=True)
    if "slow" in text:
        await asyncio.sleep(1)
    arguments = {"message_id": message["id"], "handle": message["handle"], "response": f"re: {text}"}
    sent = await call(client, "send_response_to_web", arguments)
    print(f"answered {text} {sent['already_done']}", flush=True)


async def converse(client, session, answered, turns):
    """Waits and answers, until everything is answered."""
    pending = []
    while len(answered) < turns:
        if not pending:
            got = await call(client, "wait_for_messages", {"session_id": session, "timeout_seconds": 5})
            pending = [*got.get("held", []), *got["messages"]]
        while pending:
            await answer(client, pending[0])
            answered.add(pending.pop(0)["id"])


async def play(arguments):
    connect = first_generation if arguments.sdk == "1" else second_generation
    answered = set()
    connections = 0
    while len(answered) < arguments.turns:
        connections += 1
        try:
            async with connect(arguments) as client:
                while len(answered) < arguments.turns:
                    try:
                        await converse(client, arguments.session, answered, arguments.turns)
                    except ERRORS as error:
                        print(f"again after {type(error).__name__}: {error}", flush=True)
                        await asyncio.sleep(0.3)
                        # An SDK whose connection is beyond repair says so at once, and for good.
                        if "closed" in str(error).lower() or type(error).__name__ == "ClosedResourceError":
                            raise
        except ERRORS as error:
            print(f"new connection after {type(error).__name__}: {error}", flush=True)
            await asyncio.sleep(0.3)
    print(f"done with {connections} connections", flush=True)


def main():
    parser = argparse.ArgumentParser()
    for name in ["sdk", "transport", "url", "session"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--turns", type=int, required=True)
    asyncio.run(play(parser.parse_args()))


if __name__ == "__main__":
    main()
