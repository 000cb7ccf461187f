"""relay.py SOCKET UID: prints a port of loopback whose connections it passes to SOCKET, as UID."""

import asyncio
import os
import sys
from pathlib import Path

SOCKET = Path(sys.argv[1])


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    inner = await asyncio.open_unix_connection(SOCKET.name)
    await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))
    inner[1].close()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    os.chdir(SOCKET.parent)  # the folders above it are root's alone
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
