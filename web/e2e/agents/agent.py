"""An agent on the official SDK: takes messages, answers each one in its own words, and goes on whatever happens.

Its arguments are what a program keeps about the bridge, as the page gives it, and the conversation. On standard output
it tells what it does, a line of JSON each. Over a message that says "think" it works until a line comes on standard
input; when there are no more, it says goodbye.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import sys

SDK = importlib.metadata.version("mcp")

# SDK 1.x does not notice that its server was killed: a call gets a limit beyond what it waits.
WAIT_SECONDS, LIMIT_SECONDS = 3, 8


def tell(**what):
    print(json.dumps(what), flush=True)


@contextlib.asynccontextmanager
async def first_generation(server):
    """SDK 1.x: the protocol with sessions."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if "url" in server:
        transport = streamable_http_client(server["url"])
    else:
        transport = stdio_client(StdioServerParameters(**server))
    async with transport as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        yield session


@contextlib.asynccontextmanager
async def second_generation(server):
    """SDK 2.x: asks first for the protocol without sessions."""
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters

    async with Client(server["url"] if "url" in server else StdioServerParameters(**server)) as client:
        if client.protocol_version != "2026-07-28":
            raise SystemExit(f"the SDK settled for {client.protocol_version}")
        yield client


async def call(client, tool, **arguments):
    result = await asyncio.wait_for(client.call_tool(tool, arguments), LIMIT_SECONDS)
    text = result.content[0].text
    # The name has changed between the SDKs.
    if getattr(result, "isError", None) or getattr(result, "is_error", None):
        raise RuntimeError(text)
    return json.loads(text)


@contextlib.asynccontextmanager
async def surviving(mishap):
    """Tells what went wrong, and lets it be tried again after a pause."""
    try:
        yield
    except Exception as error:
        tell(**{mishap: repr(error)})
        await asyncio.sleep(0.3)


class Agent:
    def __init__(self, session, cues):
        self.session = session
        self.cues = cues
        self.thought_over = set()

    async def live(self, server):
        connection = first_generation if SDK.startswith("1.") else second_generation
        while True:
            async with surviving("disconnected"), connection(server) as client:
                tell(connected=f"SDK {SDK}")
                while True:
                    async with surviving("failed"):
                        await self.converse(client)

    async def converse(self, client):
        """Begins with what it took before a mishap, and waits for more."""
        got = await call(client, "get_pending_messages", session_id=self.session)
        while True:
            messages = [*got.get("held", []), *got["messages"]]
            if messages:
                tell(holding=[message["message"] for message in messages])
            for message in messages:
                await self.answer(client, message)
            got = await call(client, "wait_for_messages", session_id=self.session, timeout_seconds=WAIT_SECONDS)

    async def answer(self, client, message):
        text = message["message"]
        ticket = {"message_id": message["id"], "handle": message["handle"]}
        if "think" in text and message["id"] not in self.thought_over:
            await call(client, "report_progress", progress="thinking", **ticket)
            await self.cues.get()
            self.thought_over.add(message["id"])
        tell(answering=text)
        await call(client, "send_response_to_web", response=f"re: {text}", **ticket)


async def main(server, session):
    cues = asyncio.Queue()
    life = asyncio.create_task(Agent(session, cues).live(json.loads(server)))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        cues.put_nowait(line)
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
